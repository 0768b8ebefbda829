package proxy

import (
	"cmp"
	"net/netip"
	"time"

	"serin/route"
)

// Request is what a decision needs to know of a request; each engine has its
// own small type for it, so that HTTP/1.1, HTTP/2 and later protocols share
// one truth.
type Request interface {
	Method() string
	Host() string                      // authority without userinfo, as sent
	Path() string                      // raw path, undecoded
	RawQuery() string                  // without "?", undecoded
	Header(name string) (string, bool) // first value
	Cookie(name string) (string, bool)
	Client() netip.Addr // the believed client address
	// Chain appends to buf all the addresses that the request is believed to
	// have come over; see Core.Chain.
	Chain(buf []netip.Addr) []netip.Addr
	TLS() bool    // the connection is over TLS
	Secure() bool // the client came over TLS; see Core.Secure
}

// Draw is all the randomness of one request, so that a decision is a pure
// function: independent uniform numbers, and the hour that a minted id is
// derived from.
type Draw struct {
	Part, Arm, Instance, Mirror uint64
	Now                         time.Time
}

// Live is what a decision needs to know of the instances' state; Upstreams is
// the one that lives.
type Live interface {
	route.Live
	// Ejected reports whether addr is taken out for what was seen of it; Calm,
	// that no instance at all is.
	Ejected(addr string) bool
	Calm() bool
	// Room reports whether the service may have another request in flight.
	Room(service string) bool
}

// Settings of the operator that decisions need; see docs/OPERATIONS.md.
type Settings struct {
	Balance       route.Balance // proxy.strategy, where neither a document nor the route names one
	PanicPercent  int           // proxy.panic.threshold: below this share of usable instances ejections are ignored; 0 disables
	PanicCritical bool          // proxy.panic.critical
	NoRouteStatus int           // proxy.noroutestatus; 0 means 404
	Attempts      int           // proxy.retries + 1: instances tried at most; 0 means 3
	Self          string        // names this process among balancers, by hex digits; "" does not look for requests that come back
}

// Answer is a response that Serin gives itself.
type Answer struct {
	Status     int
	Location   string
	RetryAfter int    // seconds; 0 is none
	Challenge  string // WWW-Authenticate of a 401
	Body       string // text, in a line
	HTML       []byte // the page in place of Body, nil for none
	Class      Class
	Reason     Reason
}

// Decision is what to do with a request: either Answer is set, or Target.
type Decision struct {
	Answer *Answer
	Route  *route.Route
	Part   *route.Part
	// Split is the one that holds for the client: that of Part, or that of the
	// environment of clients named Environment. It is nil where Part is.
	Split       *route.Split
	Environment string
	Arm         route.ArmName // as first chosen
	Why         Why
	// Randomised is set where chance, a turn or the client's key chose the arm,
	// and either one could have served.
	Randomised bool
	Target     *route.Target
	Panic      bool // ejections (or Consul's critical) were ignored
	// Mirror is the canary that gets a copy of the request, as Split.Mirror says;
	// nil for none.
	Mirror *route.Target

	Key       uint64 // sticky position
	HasKey    bool
	SetCookie string // the Set-Cookie value to add to the response, "" for none
	Strip     string // name of the balancer's own cookie, to be removed from what is forwarded; "" for none

	Attempts int           // instances tried at most, 0 where there is an Answer
	Timeout  time.Duration // of the route for the response's head; 0 is Timeouts.ResponseHeader

	instanceKey uint64
	client      netip.Addr
	critical    bool          // Target is one that Consul calls critical
	serving     route.ArmName // the arm of Target; another than Arm after a retry
	tried       []string      // addresses that failed, or that the request may not be sent to
	failed      int           // attempts
	in          *Quota        // of the route, entered; see Leave
}

// retryAfter is what clients are told where no instance can serve: seconds.
const retryAfter = 1

// Decide is the list of steps of a request and the only place that knows their
// order: match, choose arm and instance, and then what may keep the request
// from it; see Decision.admit. It is pure but for the turns it takes and what it
// asks of gate, and does not allocate unless it answers itself or mints a
// cookie. gate may be nil. The caller must Leave the decision.
func Decide(t *route.Table, s Settings, live Live, gate Gate, r Request, d Draw) (dec Decision) {
	path := r.Path()
	if path == "*" && r.Method() == "OPTIONS" { // RFC 9112, 3.2.4: the server as a whole
		path = "/"
	}
	search := t.Search(r.Host(), path, r.TLS(), r)
	rt := search.Next()
	if rt == nil {
		dec.noRoute(t, s, path)
		return dec
	}
	if search.Ambiguous(rt) {
		dec.Route = rt
		dec.answer(Answer{Status: 400, Body: "the path could mean another one", Class: ClientError, Reason: ReasonAmbiguous})
		return dec
	}
	if dec.decide(rt, s, live, gate, r, &d); dec.loops() {
		dec.elude(&search, s, live, gate, r, &d)
	}
	return dec
}

// noRoute answers where no route matches.
func (d *Decision) noRoute(t *route.Table, s Settings, path string) {
	if t.Snapshot() == nil { // nothing is known yet: no reason to say that there is no such route
		d.refuse("the services are not known yet", ReasonUnknown)
	} else if _, err := route.CleanPath(path); err != nil {
		d.answer(Answer{Status: 400, Body: "the path of the request is malformed", Class: ClientError, Reason: ReasonMalformed})
	} else {
		d.answer(Answer{Status: cmp.Or(s.NoRouteStatus, 404), Body: "no route for this host and path", Class: NoTarget, Reason: ReasonNoRoute})
	}
}

// loops reports whether the answer is that of a redirect to itself.
func (d *Decision) loops() bool { return d.Answer != nil && d.Answer.Reason == ReasonRedirectLoop }

// elude tries the other routes that match, as Fabio does, where the best would
// redirect to what was asked for. Where none of them serves it stays as it is.
func (d *Decision) elude(search *route.Search, s Settings, live Live, gate Gate, r Request, draw *Draw) {
	for rt := search.Next(); rt != nil; rt = search.Next() {
		var other Decision
		if other.decide(rt, s, live, gate, r, draw); !other.loops() {
			*d = other
			return
		}
	}
}

// decide is Decide from the matched route on.
func (d *Decision) decide(rt *route.Route, s Settings, live Live, gate Gate, r Request, draw *Draw) {
	p := choosePart(rt.Parts, draw.Part, s.PanicCritical)
	d.Route, d.Part, d.client = rt, p, r.Client()
	sp, environment := p.Split.VariantFor(d.client)
	d.Split, d.Environment = sp, environment
	key := stickyKey(sp, r, draw.Now)
	d.Key, d.HasKey, d.SetCookie, d.Strip = key.position, key.found, key.setCookie, key.strip
	d.instanceKey = key.instance
	arm, why := chooseArm(sp, live, r, key, draw.Arm)

	ready, healthy := count(p, live)
	able := healthy
	if able == [3]int{} {
		able = ready // an ejection alone never refuses a request
	}
	d.Arm, d.Why = guard(arm, why, able, sp.MinHealthy)
	switch {
	case !live.Room(p.Service):
		d.refuse("the service has as many requests in flight as it may", ReasonFull)
		return
	case ready != [3]int{}:
		d.Panic = panics(healthy[d.Arm], ready[d.Arm], s.PanicPercent)
		d.pick(s, live, draw.Instance)
		d.Randomised = randomised(d.Why) && bothServe(healthy, ready, sp.MinHealthy, s.PanicPercent)
	case s.PanicCritical:
		d.pickCritical(arm, s, live, draw.Instance)
	}
	if d.Target == nil {
		d.refuse("no instance of the service is available", ReasonNoInstance)
		return
	}
	if d.admit(s, gate, r, draw.Now); d.Answer == nil {
		o := d.Target.Options
		d.Attempts, d.Timeout = cmp.Or(s.Attempts, 3), o.Timeout
		if o.Retries >= 0 {
			d.Attempts = o.Retries + 1
		}
		d.mirror(live, r.Method(), draw.Mirror)
	}
}

// choosePart returns the part of a route that the draw falls in. Where nothing
// is ready it is one that has critical instances, if these may be asked.
func choosePart(parts []*route.Part, draw uint64, critical bool) *route.Part {
	x := fraction(draw)
	last := parts[0]
	for _, p := range parts {
		if x -= p.Share; p.Share > 0 {
			last = p // the shares may sum to a little less than 1
		}
		if x < 0 {
			return p
		}
	}
	if last.Share > 0 || !critical {
		return last
	}
	for i := range parts {
		p := parts[(draw%uint64(len(parts))+uint64(i))%uint64(len(parts))]
		for a := range p.Arms {
			if len(p.Arms[a].Critical) > 0 {
				return p
			}
		}
	}
	return last
}

// chooseArm says which arm a request belongs to, before anything is known of
// the instances: by the document's rules, the client's key, a turn or a draw.
func chooseArm(sp *route.Split, live Live, r Request, key key, draw uint64) (route.ArmName, Why) {
	if arm, ok := sp.Rule(r); ok {
		return arm, WhyRule
	}
	switch {
	case sp.Ratio <= 0 && !sp.Explicit:
		return route.Stable, WhyNone
	case sp.Method == route.RoundRobin:
		return sp.Turn(live.Turn(sp.Sequence())), WhyTurn
	case sp.Method == route.Hash && key.found:
		return sp.Arm(key.position), WhySticky
	}
	return sp.Arm(draw), WhyChance
}

// count returns how many instances each arm has, and how many of them are not
// ejected.
func count(p *route.Part, live Live) (ready, healthy [3]int) {
	calm := live.Calm()
	for a := range p.Arms {
		ready[a] = len(p.Arms[a].Ready)
		healthy[a] = ready[a]
		if calm {
			continue
		}
		for _, t := range p.Arms[a].Ready {
			if live.Ejected(t.Addr) {
				healthy[a]--
			}
		}
	}
	return ready, healthy
}

// guard is the last word on the arm: fewer than minHealthy canaries send
// everyone to stable, an empty stable sends everyone to canary, and backup
// serves where neither can.
func guard(arm route.ArmName, why Why, healthy [3]int, minHealthy int) (route.ArmName, Why) {
	switch stable, canary := healthy[route.Stable], healthy[route.Canary]; {
	case stable == 0 && canary == 0 && healthy[route.Backup] > 0:
		return route.Backup, WhyBackup
	case stable == 0 && canary > 0 && arm == route.Stable:
		return route.Canary, WhyNoStable
	case stable > 0 && arm == route.Canary && canary < max(minHealthy, 1):
		return route.Stable, WhyNoCanary
	}
	return arm, why
}

// randomised reports whether an arm that was chosen so, and stayed, was chosen
// independently of everything but the client.
func randomised(why Why) bool { return why == WhySticky || why == WhyChance || why == WhyTurn }

// bothServe reports whether a request of either arm would be served by it, with
// no ejection ignored: only then the arms get their shares at random.
func bothServe(healthy, ready [3]int, minHealthy, percent int) bool {
	for _, arm := range [...]route.ArmName{route.Stable, route.Canary} {
		if kept, _ := guard(arm, WhyChance, healthy, minHealthy); kept != arm || panics(healthy[arm], ready[arm], percent) {
			return false
		}
	}
	return true
}

// panics reports whether so few of an arm's instances are left that ejections
// are ignored in it.
func panics(healthy, ready, percent int) bool {
	return healthy == 0 && ready > 0 || 100*healthy < percent*ready
}

// pick sets the target among the ready instances of d.Arm. Canaries that have
// no room leave the request to stable.
func (d *Decision) pick(s Settings, live Live, draw uint64) {
	if d.Panic {
		live = panicking{live}
	}
	d.Target = d.from(d.Arm, s, live, draw)
	if d.Target == nil && d.Arm == route.Canary {
		if d.Target = d.from(route.Stable, s, live, draw); d.Target != nil {
			d.Arm, d.Why = route.Stable, WhyNoCanary
		}
	}
}

// pickCritical sets the target among what Consul calls critical.
func (d *Decision) pickCritical(wanted route.ArmName, s Settings, live Live, draw uint64) {
	d.critical = true
	for _, arm := range [...]route.ArmName{wanted, route.Stable, route.Canary, route.Backup} {
		if d.Target = d.from(arm, s, panicking{live}, draw); d.Target != nil {
			d.Arm, d.Why, d.Panic = arm, WhyPanic, true
			return
		}
	}
}

// from returns an instance of the arm that may get the request and was not
// tried, or nil.
func (d *Decision) from(arm route.ArmName, s Settings, live Live, draw uint64) *route.Target {
	sp := d.Split
	p := route.Pick{Balance: s.Balance, Draw: draw, Live: live, Tried: d.tried, Critical: d.critical}
	if sp.HasBalance {
		p.Balance = sp.Balance
	} else if o := optionsOf(d.Part.Arms[arm], d.critical); o != nil && o.HasBalance {
		p.Balance = o.Balance
	}
	switch {
	case d.HasKey && keepsInstance(sp):
		p.Sticky, p.Key = sp.Sticky.Instance, d.instanceKey
	case p.Balance == route.HashBalance && d.client.IsValid():
		p.Key = sp.InstancePositionAddr(d.client)
	case p.Balance == route.HashBalance: // nothing is known of the client
		p.Balance = route.P2C
	}
	d.serving = arm
	return d.Part.Arms[arm].Pick(p)
}

// optionsOf returns the options that choose among the instances of an arm:
// those of the first, where instances differ. nil is none.
func optionsOf(a *route.Arm, critical bool) *route.Options {
	targets := a.Ready
	if critical {
		targets = a.Critical
	}
	if len(targets) == 0 {
		return nil
	}
	return targets[0].Options
}

// panicking is the state of instances with ejections ignored.
type panicking struct{ Live }

func (p panicking) Usable(addr string, draw uint64) bool {
	return p.Live.Usable(addr, draw) || p.Live.Ejected(addr)
}

// answer makes the decision one of ours.
func (d *Decision) answer(a Answer) {
	d.Answer, d.Target = &a, nil
}

func (d *Decision) refuse(why string, because Reason) {
	d.answer(Answer{Status: 503, RetryAfter: retryAfter, Body: why, Class: NoTarget, Reason: because})
}
