package proxy

import "slices"

// answerReasons are the label values of lb_answers_total: the reasons of
// decisions, and those of answers that were given before or after one.
var answerReasons = append(slices.Clone(reasonNames[:]), "bad_request", "failure")

const (
	answeredBadRequest = len(reasonNames)     // the request, or how it was sent, is at fault
	answeredFailure    = len(reasonNames) + 1 // something of ours was: stopping, out of descriptors, a panic
)

// AnswerReasons returns the label values of lb_answers_total.
func AnswerReasons() []string { return answerReasons[1:] }

var codeClasses = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// answerReason says why Serin answered o itself, as an index of answerReasons;
// ok is false where an instance did, or was to.
func answerReason(o *Outcome) (reason int, ok bool) {
	switch {
	case o.Reason != NoReason:
		return int(o.Reason), true
	case o.Class == ClientError:
		return answeredBadRequest, true
	case o.Class == Answered, o.Class == NoTarget:
		return answeredFailure, true
	}
	return 0, false
}

// codeClass returns the index in codeClasses of a status.
func codeClass(status int) int {
	if c := status / 100; c > 0 && c < len(codeClasses) {
		return c
	}
	return 0
}

// answer counts o if Serin answered it.
func (m *Metrics) answer(o *Outcome) {
	reason, ok := answerReason(o)
	if !ok {
		return
	}
	code := codeClass(o.Status)
	p := &m.answered[reason][code]
	c := p.Load()
	if c == nil {
		resolved := m.answers.WithLabelValues(answerReasons[reason], codeClasses[code])
		c = &resolved
		p.Store(c) // whoever was quicker stored the same counter
	}
	(*c).Inc()
}
