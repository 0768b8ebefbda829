package consul

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

// startRead reads f outside its stream. sweep tells that nothing asked for it,
// again that it is only another look.
func (l *loop) startRead(f *follow, sweep, again bool) {
	f.asking = true
	l.reading++
	known, strict, gen := f.svc, f.strict, f.gen
	ids, _ := l.w.client.Registered()
	servers := maps.Clone(l.servers)
	l.wg.Go(func() {
		began := time.Now()
		e := l.w.inquire(l.ctx, f.name, known, strict, ids, servers)
		took := time.Since(began)
		l.do(func() {
			if sweep {
				l.bell.sweep.done(took, time.Now())
			}
			l.onRead(f, e, gen, sweep, again)
		})
	})
}

// onRead takes the result of startRead.
func (l *loop) onRead(f *follow, e evidence, gen uint64, sweep, again bool) {
	f.asking = false
	l.reading--
	if l.follows[f.name] != f {
		return
	}
	l.setDenied(f, e.filtered || errors.Is(e.err, ErrDenied))
	if e.err != nil {
		l.setErr(f, e.err)
		l.lastError = e.err.Error()
	} else {
		l.heard(f)
	}
	if gen != f.gen { // its stream has told something newer
		if !f.doubt.IsZero() {
			l.asks.set(f, time.Now())
		}
		return
	}
	if again && e.err == nil && e.index < f.toldIndex { // older than what the stream told
		l.lookAgain(f, true)
		return
	}
	if e.err == nil && outrun(e.index, f.toldIndex, f.doubt, time.Now()) {
		l.asks.set(f, time.Now().Add(outrunPause))
		return
	}
	if e.err != nil && f.doubt.IsZero() {
		l.retry(f)
		return
	}
	if f.doubt.IsZero() {
		f.doubt = time.Now()
	}
	_, e.lost = l.w.client.Registered()
	e.had, e.seen, e.since, e.now, e.max = f.index, f.seen, f.doubt, time.Now(), l.w.cfg.ConfirmHold
	obey, why := true, ""
	if e.known != nil && len(e.known.Instances) > 0 {
		obey, why = verdict(e)
	}
	switch {
	case obey && e.err == nil:
		// What changed up to bell.base is known by now, or no bell told it.
		changed := l.accept(f, e.got, e.index)
		if changed && (again || sweep && e.index <= l.bell.base) {
			l.w.corrections.Add(1)
		}
		l.lookAgain(f, changed)
	case why == "":
		l.retry(f)
	default:
		f.strict = true
		l.hold(f, why)
	}
}

const (
	// outrunPause and outrunLimit are how often, and how long, a read is repeated
	// that shows less than the stream has told.
	outrunPause = 10 * time.Millisecond
	outrunLimit = time.Second
)

// outrun tells whether a read that was to confirm what a stream told is older
// than that: Consul tells its streams of a change before a read shows it. An
// index that stays lower is another matter: the servers lost their state.
func outrun(read, told uint64, doubt, now time.Time) bool {
	return read < told && !doubt.IsZero() && now.Sub(doubt) < outrunLimit
}

// inquire reads one service without waiting, and where the answer contradicts
// what is known, has the leader answer it and looks for what must be there.
func (w *Watcher) inquire(ctx context.Context, name string, known *registry.Service, strict bool, ids map[string]string, servers map[string]bool) evidence {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	e := evidence{known: known}
	ask := func(name string, leader bool) (reading, *api.QueryMeta, error) {
		q := &api.QueryOptions{Datacenter: w.cfg.Datacenter, AllowStale: !leader, RequireConsistent: leader}
		return w.readService(ctx, nil, name, q, nil)
	}
	r, meta, err := ask(name, strict)
	if err == nil && !strict && contradiction(known, r) != nothing {
		r, meta, err = ask(name, true)
	}
	if err != nil {
		e.err = err
		return e
	}
	e.got, e.index, e.filtered = r, meta.LastIndex, meta.ResultsFilteredByACLs
	if contradiction(known, r) != emptied || e.filtered {
		return e
	}
	e.sight, e.err = w.look(ctx, ids, servers)
	return e
}

// look finds out whether a read by the leader shows what must be there.
func (w *Watcher) look(ctx context.Context, ids map[string]string, servers map[string]bool) (sight, error) {
	q := (&api.QueryOptions{Datacenter: w.cfg.Datacenter, RequireConsistent: true}).WithContext(ctx)
	want, names := ourselves, slices.Compact(slices.Sorted(maps.Values(ids)))
	if len(names) == 0 || w.cfg.Datacenter != "" {
		if len(servers) == 0 {
			return unknown, nil
		}
		want, names = serversSeen, []string{"consul"}
	}
	for _, name := range names {
		entries, _, err := w.client.api.Health().Service(name, "", false, q)
		if err := w.count("look for our own registration", err); err != nil {
			return unknown, err
		}
		for _, e := range entries {
			if want == ourselves && e != nil && e.Service != nil && ids[e.Service.ID] != "" ||
				want != ourselves && e != nil && e.Node != nil && servers[e.Node.ID] {
				return want, nil
			}
		}
	}
	return missing, nil
}

// serverPeriod is the time between two looks at who Consul's servers are.
const serverPeriod = time.Minute

// learnServers finds out now and then who Consul's servers are, for the case
// that nothing of ours is registered.
func (l *loop) learnServers(now time.Time) {
	if now.Sub(l.serversAt) < serverPeriod {
		return
	}
	l.serversAt = now
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, plainTimeout)
		defer cancel()
		q := (&api.QueryOptions{Datacenter: l.w.cfg.Datacenter, AllowStale: true}).WithContext(ctx)
		entries, _, err := l.w.client.api.Health().Service("consul", "", false, q)
		if l.w.count("read Consul's servers", err) == nil {
			l.do(func() { l.onServers(entries, time.Now()) })
		}
	})
}

// onServers takes over the servers' identities. Servers are replaced one by one;
// when all are others, it is another cluster, or one that lost its state, and
// is not believed before ConfirmHold has passed.
func (l *loop) onServers(entries []*api.ServiceEntry, now time.Time) {
	ids, same := map[string]bool{}, len(l.servers) == 0
	for _, e := range entries {
		if e != nil && e.Node != nil && e.Node.ID != "" {
			ids[e.Node.ID] = true
			same = same || l.servers[e.Node.ID]
		}
	}
	switch {
	case len(ids) == 0:
	case same || !l.serversGone.IsZero() && now.Sub(l.serversGone) > l.w.cfg.ConfirmHold:
		l.servers, l.serversGone = ids, time.Time{}
	case l.serversGone.IsZero():
		l.serversGone = now
	}
}
