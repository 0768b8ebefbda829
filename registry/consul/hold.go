package consul

import (
	"fmt"
	"slices"
	"time"

	"serin/registry"
)

// sight tells whether something that must be there was seen in a read of the
// same kind as the one that is doubted.
type sight uint8

const (
	unknown     sight = iota // nothing is known that must be there
	missing                  // it must be there and is not shown
	serversSeen              // Consul's own servers, the same as before, are shown
	ourselves                // an instance that our Client registered is shown
)

// evidence is everything that is known when an answer contradicts what was
// known of a service: instances are missing from it.
type evidence struct {
	known *registry.Service // at least one instance
	got   reading           // a plain read by the leader, or nothing when err is set
	err   error

	filtered bool   // Consul says that ACLs removed something from got
	index    uint64 // Consul's index of got
	had      uint64 // … of the last answer that showed known; 0 when not known

	sight sight
	seen  time.Time // when known was last read at first hand; zero when it came from disk
	lost  time.Time // when the agent was last found to have lost its state; zero: never
	since time.Time // when the contradiction was first met
	now   time.Time
	max   time.Duration // how long a service may be kept because of lost state
}

// untestedHold is how long instances that Consul has not checked yet do not
// replace ready ones. Usual check intervals are below it.
const untestedHold = 30 * time.Second

// verdict decides whether the plain read is obeyed; when it is not, why says
// what speaks against it. See [Watcher] for the reasons behind each rule.
func verdict(e evidence) (obey bool, why string) {
	if e.err != nil {
		return false, "cannot be confirmed: " + e.err.Error()
	}
	left := e.got.svc.Instances
	switch contradiction(e.known, e.got) {
	case nothing:
		return true, ""
	case notTested:
		if e.now.Sub(e.since) >= min(untestedHold, e.max) {
			return true, ""
		}
		return false, "its new instances have not been checked by Consul yet"
	}
	switch {
	case e.filtered:
		return false, "ACLs hide instances from our token: give it service:read and node:read"
	case e.got.acl && e.had > 0 && e.index == e.had:
		return false, "instances vanished although nothing was deregistered (Consul's index is unchanged): permission is likely lost"
	case len(left) > 0:
		return true, "" // it has come back, or shrunk, and is not hidden
	case e.sight == missing:
		return false, "Consul does not show what must be there, our own registration or its own servers: it lost its state, or permission is lost"
	}
	if e.sight == ourselves {
		switch {
		case e.seen.Before(e.lost) && e.now.Sub(e.lost) < e.max:
			return false, fmt.Sprintf("the agent lost its state at %s and the service has not come back since", e.lost.Format(time.TimeOnly))
		case e.index < e.had && e.now.Sub(e.since) < e.max:
			return false, fmt.Sprintf("Consul's index went back (%d, was %d): its servers lost their state", e.index, e.had)
		}
		return true, ""
	}
	// Without a registration of our own, only an index that moved on shows that
	// something was deregistered, rather than forgotten or hidden.
	switch {
	case e.index > e.had && (e.had > 0 || e.sight == serversSeen):
		return true, ""
	case e.now.Sub(e.since) >= e.max:
		return true, ""
	}
	return false, fmt.Sprintf("Consul's index does not show that it was deregistered (%d, was %d)", e.index, e.had)
}

// conflict is how an answer contradicts what is known.
type conflict uint8

const (
	nothing   conflict = iota
	emptied            // no instance is left
	shrunk             // half of the instances or more are gone; with ACLs, any
	notTested          // ready instances were known, and none that is there has been checked yet; or one that was ready has not, at the same address
)

// unchecks tells whether in was ready and is now only not so because it was
// registered again and its check has not run: that says nothing about it.
func (r reading) unchecks(in registry.Instance) bool {
	return in.Ready && slices.Contains(r.fresh, place{in.ID, in.Node, in.Addr})
}

// contradiction compares an answer with what is known of the service.
func contradiction(known *registry.Service, got reading) conflict {
	if known == nil || len(known.Instances) == 0 {
		return nothing
	}
	if len(got.svc.Instances) == 0 {
		return emptied
	}
	type key struct{ id, node string }
	left := make(map[key]bool, len(got.svc.Instances))
	for _, in := range got.svc.Instances {
		left[key{in.ID, in.Node}] = true
	}
	gone, ready := 0, false
	for _, in := range known.Instances {
		if !left[key{in.ID, in.Node}] {
			gone++
		}
		ready = ready || in.Ready
	}
	switch {
	case ready && (got.untested || slices.ContainsFunc(known.Instances, got.unchecks)):
		return notTested
	case 2*gone >= len(known.Instances) && len(got.svc.Instances) < len(known.Instances), got.acl && gone > 0:
		return shrunk
	}
	return nothing
}
