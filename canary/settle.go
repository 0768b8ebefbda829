package canary

import (
	"maps"
	"slices"
	"time"

	"serin/canary/rollout"
	"serin/route"
)

// settle brings every service to what should be in force at now, publishes when
// that changed anything, and notes when it must be called again.
func (r *run) settle(now time.Time) {
	r.c.mu.Lock()
	r.told = r.c.told
	r.c.mu.Unlock()
	r.due = time.Time{}
	splits := route.Splits{ByService: map[string]*route.Split{}}
	plans := map[string]*rollout.Plan{}
	before := r.c.current().splits
	for _, service := range slices.Sorted(maps.Keys(r.entries)) {
		e := r.entries[service]
		r.settleEntry(e, now)
		if v := e.inForce; v != nil && v.plan != nil && !v.restored {
			plans[Label(service)] = v.plan
		}
		switch {
		case e.inherits && e.inForce == nil:
		case service == "":
			splits.Default = e.split
		default:
			splits.ByService[service] = e.split
		}
	}
	asks := r.names()
	followed := r.followed(asks.services)
	changed := splits.Default != before.Default || !maps.Equal(splits.ByService, before.ByService) || !slices.Equal(followed, r.sentFollowed)
	r.c.show(r.look(splits))
	if !r.sent && len(r.entries) == 0 && (r.main == nil || !r.main.answered) {
		return
	}
	if !r.sent || changed {
		r.sentFollowed = followed
		r.c.Publish(splits, followed)
	}
	if r.c.Plans != nil && (!r.sent || !maps.Equal(plans, r.sentPlans)) {
		r.sentPlans = plans
		r.c.Plans(plans)
	}
	if r.c.Names != nil && (!r.sent || !asks.equal(r.sentNames)) {
		r.sentNames = asks
		r.c.Names(asks.hosts, asks.services)
	}
	r.sent = true
}

// settleEntry applies the version that should be in force, at once or when
// update_rate allows it, and its share at now.
func (r *run) settleEntry(e *entry, now time.Time) {
	next, from := e.choose(r.main)
	wait := now
	if next != nil && e.inForce != nil && next != e.inForce && !e.inForce.restored {
		wait = later(e.appliedAt, e.asked.at).Add(next.doc.UpdateRate.or(0))
	}
	e.pending = time.Time{}
	switch {
	case next == e.inForce:
		e.from = from
	case !wait.After(now) || next.doc.Control == string(rollout.Abort) || r.falls(e, next, now):
		if e.inForce == nil || e.inForce.hash != next.hash || e.inForce.raw.Index != next.raw.Index {
			e.appliedAt = now
		}
		e.inForce, e.from = next, from
	default:
		e.pending = wait
		r.wake(wait)
	}

	was := e.made
	moving := false
	is := made{service: e.service, secret: r.told.secret}
	switch v, common := e.inForce, r.entries[""]; {
	case v != nil && v.deleted:
		is.index, is.hash = v.raw.Index, v.hash
		is.part = part{doc: v.doc, because: "deleted: " + v.raw.Key + " is gone"}
	case v != nil:
		is, moving = r.make(e, v, now)
	case e.inherits && common != nil && common.inForce != nil:
		is = common.made
		is.service, is.because = e.service, "invalid: the document for all services stays in force"
	default:
		is.index = e.own.raw.Index
		is.part = part{doc: &Document{}, because: "invalid: no document of this service was valid yet"}
	}
	if e.split == nil || !is.equal(was) {
		e.made, e.split = is, is.compile()
		r.noteApplied(e, was, moving)
	}
	valid := e.own.err == nil && (e.remote == nil || e.remote.slot.err == nil)
	r.c.Metrics.set(e.service, e.split.Wanted, valid)
}

// noteApplied logs what came into force. A ramp on its way is no transition.
func (r *run) noteApplied(e *entry, was made, moving bool) {
	is := e.made
	log := r.log.Info
	switch {
	case was.doc != nil && was.ratio == is.ratio && was.because == is.because && was.hash == is.hash && was.environment == is.environment:
		return
	case moving && was.doc == is.doc && was.because == is.because && was.hash == is.hash:
		log = r.log.Debug
	}
	log("canary applied", "service", Label(e.service), "ratio", is.ratio, "was", was.ratio,
		"wanted", is.wanted, "because", is.because, "index", is.index, "environment", is.environment)
}

// make says what a version comes to at now, and whether its share is on its way.
func (r *run) make(e *entry, v *version, now time.Time) (m made, moving bool) {
	m = made{service: e.service, index: v.raw.Index, hash: v.hash, secret: r.told.secret}
	if v.doc.Analysis != nil {
		m.rollout = Label(e.service)
	}
	res := r.resolve(e.service, v, now)
	r.wake(res.again)
	m.unknown = res.unknown
	pos := r.position(e.service, v, res.doc, now)
	moving = !pos.Again.IsZero()
	if e.asked.of == v && pos.Ratio > e.asked.ratio && !e.asked.waits {
		if wait := e.asked.at.Add(v.doc.UpdateRate.or(0)); wait.After(now) { // a step or a ramp does not outrun update_rate
			pos.Ratio = e.asked.ratio
			r.wake(wait)
		}
	}
	if e.asked.of != v || e.asked.ratio != pos.Ratio {
		e.asked.at = now
	}
	e.asked.of, e.asked.ratio, e.asked.phase, e.asked.step = v, pos.Ratio, pos.Phase, pos.Step
	e.asked.waits = pos.Phase == rollout.Idle && pos.Because != ""
	state := SourceState{Restored: v.restored, LostSince: e.sinceLost(e.from), StaleAfter: r.c.StaleAfter}
	m.part = r.part(res.doc, pos, state, now)
	m.environment, m.rules = res.environment, v.rulesOf(res.doc)
	for _, one := range res.variants {
		p := r.part(one.doc, r.position(e.service, v, one.doc, now), state, now)
		p.environment, p.share, p.rules = one.name, one.share, v.rulesOf(one.doc)
		p.clients, p.prepared = one.of.clients, one.of.prepared
		m.parts = append(m.parts, p)
	}
	return m, moving
}

// resolve is a version as this balancer has it.
func (r *run) resolve(service string, v *version, now time.Time) resolution {
	roll := func(environment string) uint64 {
		return rollPosition(r.told.secret, Label(service), v.doc.ID, environment, r.told.self.Node)
	}
	clients := func(env *Environment) *networks {
		return v.networksOf(env, r.told.addresses, r.told.addressed)
	}
	return resolve(v.doc, v.patched, r.told.self, clients, roll, now)
}

// position is what a document of a version asks for.
func (r *run) position(service string, v *version, doc *Document, now time.Time) rollout.Position {
	plan, state := v.plans[doc], r.told.states[Label(service)]
	pos := rollout.Position{Ratio: doc.wanted(), Phase: rollout.Idle}
	switch {
	case plan == nil:
	case v.plan != nil && r.c.Plans != nil && !r.told.known:
		// It may have been rolled back.
		pos.Ratio, pos.Because = 0, "its state was not read yet"
	case plan == v.plan:
		pos = rollout.At(plan, state, now)
	default:
		pos = apart(plan, state, now)
	}
	if pos.Again.After(now) {
		r.wake(pos.Again)
	}
	return pos
}

// apart is rollout.At for an environment that says itself how its share moves:
// the state of the whole rollout tells whether that may, not how far it is. A
// pause stops a ramp where it was when the pause began.
func apart(p *rollout.Plan, s rollout.State, now time.Time) rollout.Position {
	if p.Control == rollout.Pause {
		p = new(*p)
		p.Control = rollout.Run
	}
	if s.ID == p.ID && s.Phase == rollout.Paused {
		s.Phase = rollout.Running
		if s.Since.Before(now) {
			now = s.Since
		}
	}
	return rollout.At(p, s, now)
}

// part is the share of those who have doc, clamped and asserted. It asks to be
// called again when time alone will change it.
func (r *run) part(doc *Document, pos rollout.Position, s SourceState, now time.Time) part {
	if at, lost := doc.staleAt(s); lost && at.After(now) {
		r.wake(at)
	}
	if doc.Expires != nil && doc.Expires.After(now) {
		r.wake(*doc.Expires)
	}
	ratio, because := Effective(doc, pos, s, now)
	share, ok := assertShare(ratio)
	if !ok {
		r.c.Metrics.assertion()
		because = "BUG: the share was not within 0..1"
		r.log.Error("BUG: effective canary share outside 0..1, using 0", "ratio", ratio)
	}
	p := part{doc: doc, ratio: share, wanted: doc.wantedAt(pos), because: because}
	if pos.Mirror != nil {
		p.mirror, p.mirrors = *pos.Mirror, true
	}
	if at, lost := doc.staleAt(s); doc.expired(now) || pos.Phase == rollout.RolledBack || lost && !now.Before(at) && doc.OnStale != "hold" && pos.Phase != rollout.Promoted {
		p.mirror, p.mirrors = 0, true // it is not to be touched
	}
	return p
}

// wantedAt is the share that the document asks for where its rollout is, whatever
// that does not follow for: of its step, or of a ramp where it leads.
func (d *Document) wantedAt(pos rollout.Position) float64 {
	switch {
	case d.Ramp == nil && d.Steps == nil:
		return d.wanted()
	case pos.Because == "":
		return pos.Ratio
	case d.Ramp != nil:
		return or(d.Ramp.To, 1)
	}
	for i := min(pos.Step, len(d.Steps)-1); i >= 0; i-- {
		if d.Steps[i].Ratio != nil {
			return *d.Steps[i].Ratio
		}
	}
	return 0
}

// falls reports whether a version takes the canary's share back, of anyone's
// requests, so that it does not wait for update_rate.
func (r *run) falls(e *entry, next *version, now time.Time) bool {
	shares := func(v *version) map[string]float64 {
		res := r.resolve(e.service, v, now)
		limit := func(doc *Document) float64 {
			ratio, _ := limited(doc, r.position(e.service, v, doc, now), now)
			return ratio
		}
		out := map[string]float64{"": limit(res.doc)}
		for _, one := range res.variants {
			out["in "+one.name] = limit(one.doc)
		}
		return out
	}
	is := shares(next)
	for who, was := range shares(e.inForce) {
		share, ok := is[who]
		if !ok {
			share = is[""]
		}
		if share < was {
			return true
		}
	}
	return false
}

// wake asks for another settle at that time; zero is never.
func (r *run) wake(at time.Time) {
	if !at.IsZero() && (r.due.IsZero() || at.Before(r.due)) {
		r.due = at
	}
}

// timer fires when settle has something to do; nil when it has not.
func (r *run) timer() <-chan time.Time {
	if r.due.IsZero() {
		return nil
	}
	return time.After(time.Until(r.due))
}

// names are those that the environments in force ask for.
func (r *run) names() names {
	var all []*Document
	for _, e := range r.entries {
		if e.inForce != nil {
			all = append(all, e.inForce.doc)
		}
	}
	return namesOf(all, r.told.self)
}

// followed lists the services that the selectors in force name, and these.
func (r *run) followed(names []string) []string {
	names = slices.Clone(names)
	for _, e := range r.entries {
		for _, s := range []route.Selector{e.split.Canary, e.split.Stable, e.split.Backup} {
			if s.Service != "" {
				names = append(names, s.Service)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
