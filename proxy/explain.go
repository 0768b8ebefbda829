package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"serin/route"
)

// ExplainInput is everything that an explanation depends on.
type ExplainInput struct {
	Table    *route.Table
	Settings Settings
	// Live is the state of the instances; nil is one in which all of them are
	// idle and well. Gate judges credentials; with nil nobody has the right
	// ones. Explaining changes nothing in either: no turn is taken, and no limit
	// of a route counts it, nor refuses it.
	Live    Live
	Gate    Gate
	Request Request
	// Draw stands for chance; see [Middle].
	Draw Draw
}

// Use takes the settings, the state and the gate of c.
func (in *ExplainInput) Use(c *Core) {
	in.Settings, in.Gate = c.Settings, (*gate)(c)
	if c.Upstreams != nil {
		in.Live = c.Upstreams
	}
}

// Middle is a Draw for those who can show only one: it lies in the middle, so
// that of two arms it meets the larger. now is what ids are minted from.
func Middle(now time.Time) Draw {
	const middle = 1 << 63
	return Draw{Part: middle, Arm: middle, Instance: middle, Mirror: middle, Now: now}
}

// Explanation says what becomes of a request, and why.
type Explanation struct {
	// Status is that of the balancer's own answer, and 200 where the request is
	// forwarded: what the instance then answers is not known.
	Status int `json:"status"`
	// Route is the one that was chosen; nil where none was.
	Route   *ExplainedRoute `json:"route"`
	Service string          `json:"service"`
	// Target is the host:port of the instance that is asked, "" where none is.
	Target string `json:"target"`
	// URL is what the instance is asked, after strip, prepend, rewrite and host:
	// its authority is the value of host=, and without one (or with host=dst)
	// the instance's address. "" where none is asked.
	URL      string `json:"url"`
	Location string `json:"location"` // of a redirect
	Arm      string `json:"arm"`      // "" where no route was chosen
	// Environment is the document's one that the client is in, "" for none.
	Environment string `json:"environment,omitempty"`
	// Mirror is the host:port of the canary that gets a copy, "" for none.
	Mirror string `json:"mirror,omitempty"`
	// Weights are the instances that the route may choose from, with their share
	// of all its requests as the table has it.
	Weights []ExplainedWeight `json:"weights"`
	// Problems are those of the table that concern the services of the route, or
	// the host and path of the request.
	Problems []ExplainedProblem `json:"problems"`

	Why        string       `json:"why"`                   // the arm, or the answer: a sentence
	Host       string       `json:"host,omitempty"`        // Host header that the instance gets
	Instance   string       `json:"instance,omitempty"`    // Consul's ID of the target
	RetryAfter int          `json:"retry_after,omitempty"` // seconds, with the answer
	Answer     string       `json:"answer,omitempty"`      // text of the answer
	Considered []Considered `json:"considered,omitempty"`  // other routes, in the order in which they are tried
	Others     int          `json:"others,omitempty"`      // routes besides these, of other hosts and paths
}

// ExplainedRoute names a route.
type ExplainedRoute struct {
	Host   string `json:"host"` // as in the tag; "" is any
	Path   string `json:"path"`
	Source string `json:"source"` // "tag", or the route command's source and line
}

// ExplainedWeight is one instance of the route.
type ExplainedWeight struct {
	Target string  `json:"target"` // host:port
	Share  float64 `json:"share"`  // of all requests of the route, 0..1
}

// ExplainedProblem is one thing that the table refused.
type ExplainedProblem struct {
	Where string `json:"where"`
	Error string `json:"error"`
}

// Considered is a route that was not chosen.
type Considered struct {
	ExplainedRoute
	When    string `json:"when,omitempty"` // its condition, as options of a tag
	Service string `json:"service"`        // several are joined by commas
	Why     string `json:"why"`            // it was not chosen
}

// Limits of what an explanation lists.
const (
	maxConsidered = 20
	maxExplained  = 50 // problems
)

// Explain says what Decide decides for the same input, and why. It is pure but
// for looking at Live.
func Explain(in ExplainInput) Explanation {
	live := in.Live
	if live == nil {
		live = calm{}
	}
	var gate Gate
	if in.Gate != nil {
		gate = onlookerGate{in.Gate}
	}
	d := Decide(in.Table, in.Settings, onlooker{live}, gate, in.Request, in.Draw)
	defer d.Leave()
	e := Explanation{Status: 200, Weights: []ExplainedWeight{}, Problems: []ExplainedProblem{}}
	if a := d.Answer; a != nil {
		e.Status, e.Location, e.RetryAfter, e.Answer, e.Why = a.Status, a.Location, a.RetryAfter, a.Body, a.Body
	}
	if d.Route != nil {
		e.chosen(&d, in.Request)
	}
	e.consider(in.Table, d.Route, in.Request)
	e.problems(in.Table, d.Route, in.Request)
	return e
}

// chosen tells of the route that was chosen, and what it chose.
func (e *Explanation) chosen(d *Decision, r Request) {
	e.Route = &ExplainedRoute{Host: d.Route.Host, Path: d.Route.Path, Source: sourceOf(d.Route)}
	e.Weights = weightsOf(d.Route)
	if d.Part != nil {
		e.Service, e.Arm, e.Environment = d.Part.Service, d.Arm.String(), d.Environment
	}
	if d.Mirror != nil {
		e.Mirror = d.Mirror.Addr
	}
	switch t := d.Target; {
	case t != nil:
		e.Route.Source = cmp.Or(t.Source, e.Route.Source)
		e.Target, e.Instance, e.Host = t.Addr, t.ID, hostHeader(t, r.Host())
		e.URL = askedOf(t, r)
		e.Why = whyArm(d, r)
	case d.Answer.Reason == ReasonRedirect:
		e.Why = "the route is a redirect"
	case d.Answer.Reason == ReasonAmbiguous:
		e.Why = "an instance could read the path as that of another route, and allow=, deny= or auth= hold for some of the host"
	case d.Answer.Reason == ReasonAccess:
		e.Why = "allow= or deny= of the route keeps out " + addresses(r.Chain(nil))
	case d.Answer.Reason == ReasonAuth:
		e.Why = "auth= of the route asks for a name and a password that the request does not have"
	}
}

// addresses names those that a request came over.
func addresses(chain []netip.Addr) string {
	if len(chain) == 0 {
		return "a client whose address cannot be read"
	}
	texts := make([]string, len(chain))
	for i, a := range chain {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// sourceOf is where the first target of the route comes from.
func sourceOf(r *route.Route) string {
	for t := range r.Targets() {
		return cmp.Or(t.Source, "tag")
	}
	return "tag"
}

// weightsOf are the instances that are ready, with their shares.
func weightsOf(r *route.Route) []ExplainedWeight {
	out := []ExplainedWeight{}
	for _, p := range r.Parts {
		arms := p.Shares()
		for a := range p.Arms {
			for i, t := range p.Arms[a].Ready {
				out = append(out, ExplainedWeight{t.Addr, p.Share * arms[a] * p.Arms[a].Share(i)})
			}
		}
	}
	return out
}

// hostHeader returns the Host header that t gets of a request for host.
func hostHeader(t *route.Target, host string) string {
	switch {
	case t.Options == nil || t.Options.Host == "":
		return host
	case t.Options.Host == "dst":
		return t.Addr
	}
	return t.Options.Host
}

// askedOf returns what the instance is asked.
func askedOf(t *route.Target, r Request) string {
	scheme, authority, path := "http://", t.Addr, r.Path()
	if o := t.Options; o != nil {
		if o.Proto == route.HTTPS || o.Proto == route.GRPCS {
			scheme = "https://"
		}
		if o.Host != "" && o.Host != "dst" {
			authority = o.Host
		}
		path = o.Rewrite(path)
	}
	if q := r.RawQuery(); q != "" {
		path += "?" + q
	}
	return scheme + authority + path
}

// whyArm says why the request goes to its arm.
func whyArm(d *Decision, r Request) string {
	sp, arm := d.Split, d.Arm.String()
	ratio := percents(sp.Ratio) + " of the requests go to canary"
	why := ""
	switch d.Why {
	case WhyNone:
		why = "no canary document says otherwise"
	case WhyRule:
		why = "a match rule of the canary document sends it there"
	case WhySticky:
		why = fmt.Sprintf("the client is known by its %s, which stands at %s; canary has what is below %s",
			keyOf(sp, r), percents(fraction(d.Key)), percents(sp.Ratio))
	case WhyChance:
		why = "by chance: " + ratio + ", and shown is the draw in the middle"
	case WhyTurn:
		why = "in turn: " + ratio + ", and shown is the first turn"
	case WhyNoCanary:
		why = fmt.Sprintf("it would be canary, which has too few instances that can serve (limits.min_healthy is %d)", max(sp.MinHealthy, 1))
	case WhyNoStable:
		why = "it would be stable, which has no instance that can serve"
	case WhyBackup:
		why = "neither stable nor canary has an instance that can serve"
	case WhyPanic:
		why = "no instance is ready, and proxy.panic.critical lets those serve that Consul calls critical"
	}
	if d.Panic && d.Why != WhyPanic {
		why += "; so few of its instances are well that ejections are ignored"
	}
	for _, because := range [...]string{sp.Because, sp.Capacity()} {
		if because != "" {
			why += "; " + because
		}
	}
	if d.Environment != "" {
		why += "; the client is in the environment " + d.Environment
	}
	return arm + ": " + why + whyCopied(d, r.Method())
}

// whyCopied says what is copied of the requests that go the same way.
func whyCopied(d *Decision, method string) string {
	m := d.Split.Mirror
	if m == nil || !(m.Ratio > 0) || d.Arm != route.Stable || !mirrors(m, method) {
		return ""
	}
	copied := "; " + percents(m.Ratio) + " of such requests are copied to canary"
	if d.Mirror == nil && m.Ratio > 0.5 { // which the draw in the middle is below
		copied += ", which has no instance for a copy now"
	}
	return copied
}

// keyOf names the first of the split's sources that the request has.
func keyOf(sp *route.Split, r Request) string {
	for _, src := range sp.Sticky.By {
		value := ""
		switch src.Kind {
		case route.KeyCookie:
			if value, _ = r.Cookie(src.Name); value == "" && src.Mint {
				return "cookie " + src.Name + ", which it is given with this answer"
			}
		case route.KeyHeader:
			value, _ = r.Header(src.Name)
		case route.KeyIP:
			return "address"
		}
		if value != "" {
			return src.Kind.String() + " " + src.Name
		}
	}
	return "key"
}

func percents(share float64) string {
	return strconv.FormatFloat(share*100, 'g', 4, 64) + " %"
}

// consider says of other routes why they were not chosen: first of those that
// match, then of those of the request's host, and where none was chosen of those
// of its path.
func (e *Explanation) consider(t *route.Table, chosen *route.Route, r Request) {
	var fits, near, far []Considered
	others, before := 0, chosen != nil
	for _, c := range t.Considered(r.Host(), pathOf(r), r.TLS(), r) {
		if c.Route == chosen {
			before = false
			continue
		}
		others++
		var to *[]Considered
		why := ""
		switch {
		case c.Host && c.Path && !c.When:
			to, why = &fits, unmet(c.Route.When, r)
		case c.Host && c.Path:
			to, why = &fits, whyNot(c.Route, chosen, before)
		case c.Host:
			to, why = &near, "its path does not match"
		case c.Path && chosen == nil: // else it would be too many: "/" is a path of all
			to, why = &far, "its host does not match"
		default:
			continue
		}
		if len(*to) < maxConsidered {
			*to = append(*to, Considered{ExplainedRoute{c.Route.Host, c.Route.Path, sourceOf(c.Route)}, c.Route.When.String(), servicesOf(c.Route), why})
		}
	}
	e.Considered = slices.Concat(fits, near, far)
	e.Considered = e.Considered[:min(len(e.Considered), maxConsidered)]
	e.Others = others - len(e.Considered)
}

// whyNot says why rt was not chosen although it matches. before tells that it
// is tried before the chosen one.
func whyNot(rt, chosen *route.Route, before bool) string {
	switch {
	case before || chosen == nil:
		return "its redirect would lead to what was asked for"
	case rt.Host != chosen.Host:
		return "a more exact host goes first"
	case rt.Priority != chosen.Priority:
		return fmt.Sprintf("its priority is %d, and %d goes first", rt.Priority, chosen.Priority)
	case rt.Path != chosen.Path:
		return "a longer path goes first"
	}
	return "a route with a condition goes first"
}

// unmet names the parts of a condition that do not hold, as options of a tag.
func unmet(c *route.Condition, r Request) string {
	var parts []string
	add := func(part route.Condition) {
		if !part.Holds(r) {
			parts = append(parts, part.String())
		}
	}
	add(route.Condition{Methods: c.Methods})
	for i := range c.Headers {
		add(route.Condition{Headers: c.Headers[i : i+1]})
	}
	for i := range c.Query {
		add(route.Condition{Query: c.Query[i : i+1]})
	}
	return "its condition does not hold: " + strings.Join(parts, " ")
}

// pathOf is the path that routes are matched with.
func pathOf(r Request) string {
	if path := r.Path(); path != "*" || r.Method() != "OPTIONS" {
		return path
	}
	return "/"
}

func servicesOf(r *route.Route) string {
	var names []string
	for _, p := range r.Parts {
		if !slices.Contains(names, p.Service) {
			names = append(names, p.Service)
		}
	}
	return strings.Join(names, ",")
}

// problems lists what the table refused that concerns the request; where no
// route was chosen anything may.
func (e *Explanation) problems(t *route.Table, chosen *route.Route, r Request) {
	host := route.CleanHost(r.Host(), r.TLS())
	var near, far []ExplainedProblem
	for _, p := range t.Problems() {
		out := ExplainedProblem{Where: ProblemPlace(p), Error: p.Error}
		text := strings.ToLower(p.Tag + " " + p.Error)
		switch {
		case host != "" && strings.Contains(text, host), chosen != nil && slices.ContainsFunc(chosen.Parts, func(part *route.Part) bool { return part.Service == p.Service }):
			near = append(near, out)
		case chosen == nil:
			far = append(far, out)
		}
	}
	all := slices.Concat(near, far)
	e.Problems = append(e.Problems, all[:min(len(all), maxExplained)]...)
}

// ProblemPlace names what a problem is about, for people: its Where, or the
// instance and the tag.
func ProblemPlace(p route.Problem) string {
	if p.Where != "" {
		return p.Where
	}
	where := cmp.Or(p.Instance, p.Service)
	if p.Tag != "" {
		where += ": " + p.Tag
	}
	return where
}

// calm is the state of instances that all are idle and well.
type calm struct{}

func (calm) Load(string) int            { return 0 }
func (calm) Usable(string, uint64) bool { return true }
func (calm) Turn(string) uint64         { return 0 }
func (calm) Ejected(string) bool        { return false }
func (calm) Calm() bool                 { return true }
func (calm) Room(string) bool           { return true }

// onlooker is a state that is only looked at.
type onlooker struct{ Live }

// Turn takes none: it is always the first one.
func (onlooker) Turn(string) uint64 { return 0 }

// onlookerGate is a gate that is only asked who somebody is.
type onlookerGate struct{ Gate }

// Enter lets everybody in, without counting.
func (onlookerGate) Enter(*route.Route, *route.Target, time.Time) (*Quota, Reason, time.Duration) {
	return new(Quota), NoReason, 0
}
