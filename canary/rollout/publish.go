package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"serin/canary/evidence"
)

// Node is what a balancer publishes about one service, with its session.
type Node struct {
	Self
	Applied
	// Rollout and Judged say what the evidence is about: the rollout's ID and its
	// analysis; Judged is "" where nothing is judged.
	Rollout  string         `json:"rollout,omitempty"`
	Judged   string         `json:"judged,omitempty"`
	Life     int            `json:"life,omitempty"`  // of the evidence, see Shared
	Moves    uint64         `json:"moves,omitempty"` // State.Moves that Evidence.Step counts from
	Evidence evidence.Tally `json:"evidence"`
	At       time.Time      `json:"at,omitzero"`
}

const (
	soonest  = 100 * time.Millisecond // between two values of a service
	seldom   = 5 * time.Second        // between two values whose document is the same, ± a tenth
	sendings = 8                      // calls of the Store at once
)

// presence is what is published of one service.
type presence struct {
	sent    Node   // without At
	text    string // of sent
	session string
	at      time.Time // when it was sent
	slow    time.Time // when to look whether the rest has changed
	retry   time.Time
	busy    bool
}

// urgent is the part of a Node that is published at once.
func (n Node) urgent() [2]uint64 { return [2]uint64{n.Index, n.Rejected} }

// own is what this balancer has to publish of a service.
func (r *run) own(service string, at time.Time) Node {
	n := Node{Self: r.f.Self, At: at}
	if service == "" {
		return n
	}
	n.Applied = r.applied[service]
	n.Because, n.Invalid = shorten(n.Because, 256), shorten(n.Invalid, 512)
	if w := r.watching[service]; w != nil {
		n.Rollout, n.Judged, n.Life, n.Moves = w.id, w.judged, w.life, w.moves
		n.Evidence = w.rec.Tally()
	}
	return n
}

// publish sends what the others do not know yet: that this balancer is there,
// and what it has applied and seen of each document.
func (r *run) publish(now time.Time) {
	if !r.session.alive(now) || !r.again && now.Before(r.due) {
		return
	}
	r.again, r.due = false, now.Add(idleTick)
	r.publishOne("", now)
	for service := range r.applied {
		if !strings.Contains(service, "/") && service != "" {
			r.publishOne(service, now)
		}
	}
	for service, p := range r.presence {
		if _, ok := r.applied[service]; ok || service == "" || p.busy || now.Before(p.retry) {
			continue
		}
		if p.session != r.session.id {
			delete(r.presence, service) // it went with its session
			continue
		}
		r.withdraw(service, p)
	}
}

func (r *run) nodeKey(service string) string {
	key := NodeKeys + "/" + r.f.Self.ID
	if service != "" {
		key += "/" + service
	}
	return key
}

func (r *run) publishOne(service string, now time.Time) {
	p := r.presence[service]
	if p == nil {
		p = &presence{}
		r.presence[service] = p
	}
	if p.busy || r.sending >= sendings { // when one is done all are looked at
		return
	}
	if soon := later(p.at, soonest); now.Before(soon) || now.Before(p.retry) {
		if now.Before(soon) && soon.Before(r.due) {
			r.due = soon
		}
		return
	}
	a := r.applied[service]
	again := p.session != r.session.id || r.unseen(service, p, now)
	urgent := p.sent.urgent() != [2]uint64{a.Index, a.Rejected} || p.sent.Hash != a.Hash
	if !again && !urgent && now.Before(p.slow) {
		return
	}
	n := r.own(service, time.Time{})
	text := string(encodeNode(n, time.Time{}))
	if !again && text == p.text {
		p.slow = now.Add(slowly())
		return
	}
	value := encodeNode(n, now)
	session := r.session.id
	p.busy, p.at, p.slow = true, now, now.Add(slowly())
	r.sending++
	key := r.nodeKey(service)
	r.apart(func(ctx context.Context) func() {
		got, err := call(ctx, func(ctx context.Context) (bool, error) {
			return r.f.Store.Acquire(ctx, key, value, session)
		})
		return func() {
			r.sending--
			p.busy, r.again = false, true
			if errors.Is(err, ErrNoSession) {
				r.loseSession(session)
				return
			}
			r.say("publishing to the other balancers", err)
			if err == nil && got {
				p.sent, p.text, p.session, p.retry = n, text, session, time.Time{}
				return
			}
			p.retry = time.Now().Add(retryAfter)
		}
	})
}

// unseen tells whether somebody removed what was published.
func (r *run) unseen(service string, p *presence, now time.Time) bool {
	if r.world == nil || r.lost != nil || now.Sub(p.at) < storeLimit {
		return false
	}
	_, ok := r.world.nodes[service][r.f.Self.ID]
	return !ok
}

func (r *run) withdraw(service string, p *presence) {
	p.busy = true
	key := r.nodeKey(service)
	r.apart(func(ctx context.Context) func() {
		_, err := call(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.f.Store.Delete(ctx, key)
		})
		return func() {
			p.busy, r.again = false, true
			r.say("publishing to the other balancers", err)
			if err != nil {
				p.retry = time.Now().Add(retryAfter)
				return
			}
			*p = presence{}
			if _, ok := r.applied[service]; !ok {
				delete(r.presence, service)
			}
		}
	})
}

// slowly is seldom with jitter, so that balancers do not write in step.
func slowly() time.Duration { return seldom*9/10 + rand.N(seldom/5) }

// encodeNode is the text of n, of maxNode bytes at most.
func encodeNode(n Node, now time.Time) []byte {
	if !now.IsZero() {
		n.At = now.UTC().Round(time.Millisecond)
	}
	b, err := json.Marshal(n)
	if err == nil && len(b) <= maxNode {
		return b
	}
	n = Node{Self: Self{ID: n.ID, Blind: n.Blind}, Applied: Applied{Index: n.Index, Hash: shorten(n.Hash, 128), Rejected: n.Rejected}, At: n.At}
	b, _ = json.Marshal(n)
	return b
}
