package canary

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/dchest/siphash"

	"serin/route"
)

// resolution is a document as one balancer has it.
type resolution struct {
	doc         *Document // with the patch of the environment that the balancer is in
	environment string    // that one's name; "": none
	variants    []variant // for some clients, the first that matches counts
	unknown     []string  // names that stand for nobody, in a sentence's words
	again       time.Time // when to ask again although nothing changed; zero: never
}

// variant is a document as some clients have it.
type variant struct {
	name  string
	of    *networks // that it is for; without any it is nobody
	share float64   // of them, see [route.Variant]
	doc   *Document
}

// resolve applies the environments of a document to one balancer: the first that
// matches counts, for each client. patched has the document with the patch of
// each environment; clients tells whom one is for; roll tells where this balancer stands, 0 to 2⁶⁴, among those
// that an environment is for. It is pure.
func resolve(d *Document, patched []*Document, self Self, clients func(*Environment) *networks, roll func(environment string) uint64, now time.Time) resolution {
	r := resolution{doc: d}
	for i := range d.Environments {
		env := &d.Environments[i]
		if !env.When.holdsFor(self) {
			continue
		}
		share := 1.0
		if env.Roll != nil {
			var again time.Time
			if share, again = env.Roll.at(now); !again.IsZero() && (r.again.IsZero() || again.Before(r.again)) {
				r.again = again
			}
		}
		if env.When.clients() {
			who := clients(env)
			r.unknown = append(r.unknown, who.unknown...)
			if share > 0 {
				r.variants = append(r.variants, variant{name: env.Name, of: who, share: share, doc: patched[i]})
			}
			continue
		}
		if env.Roll == nil || route.Below(roll(env.Name), share) {
			r.doc, r.environment = patched[i], env.Name
			break
		}
	}
	r.unknown = slices.Compact(slices.Sorted(slices.Values(r.unknown)))
	return r
}

// rollPosition is where a balancer stands among those that an environment is
// for: SipHash-2-4 keyed by the secret, of "roll", the service, the rollout's
// id, the environment's name and the balancer's node, joined by zero bytes.
func rollPosition(secret [2]uint64, service, id, environment, node string) uint64 {
	var b []byte
	for _, field := range [...]string{"roll", service, id, environment} {
		b = append(append(b, field...), 0)
	}
	return siphash.Hash(secret[0], secret[1], append(b, node...))
}

// at is the share that has the patch at now, and when to ask again; zero: it
// moves no more. It never falls.
func (r *Roll) at(now time.Time) (share float64, again time.Time) {
	switch {
	case now.Before(r.Start):
		return 0, r.Start
	case !now.Before(r.End):
		return 1, time.Time{}
	}
	elapsed := now.Sub(r.Start).Truncate(time.Second)
	again = r.Start.Add(elapsed + time.Second)
	if again.After(r.End) {
		again = r.End
	}
	return min(1, elapsed.Seconds()/r.End.Sub(r.Start).Seconds()), again
}

// holdsFor reports whether what is asked of the balancer holds.
func (w When) holdsFor(s Self) bool {
	return (len(w.Node) == 0 || s.Node != "" && slices.Contains(w.Node, s.Node)) &&
		(len(w.Datacenter) == 0 || s.Datacenter != "" && slices.Contains(w.Datacenter, s.Datacenter)) &&
		(len(w.Tag) == 0 || slices.ContainsFunc(w.Tag, func(tag string) bool { return slices.Contains(s.Tags, tag) }))
}

// networks are those that all of what is asked of the client leaves, and
// the names that stand for nobody.
func (w When) networks(a Addresses) (networks []netip.Prefix, unknown []string) {
	first := true
	and := func(set []netip.Prefix) {
		if first {
			networks, first = set, false
			return
		}
		networks = intersect(networks, set)
	}
	if len(w.CIDR) > 0 {
		var set []netip.Prefix
		for _, text := range w.CIDR {
			p, err := route.ParseNetwork(text)
			if err != nil {
				panic("BUG: Parse let a network pass that cannot be read: " + text)
			}
			set = append(set, p)
		}
		and(set)
	}
	for _, k := range [...]struct {
		what  string
		names []string
		known map[string][]netip.Addr
	}{{"host", w.Host, a.Hosts}, {"service", w.Service, a.Services}} {
		if len(k.names) == 0 {
			continue
		}
		var set []netip.Prefix
		for _, name := range k.names {
			if addrs, ok := k.known[name]; ok && len(addrs) == 0 { // else it was not asked for yet
				unknown = append(unknown, k.what+" "+name)
			}
			for _, addr := range k.known[name] {
				addr = addr.Unmap().WithZone("")
				set = append(set, netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
		and(set)
	}
	slices.SortFunc(networks, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	return slices.Compact(networks), unknown
}

// intersect returns the networks that are within one of a and within one of b.
func intersect(a, b []netip.Prefix) (out []netip.Prefix) {
	single := map[netip.Prefix]bool{} // most are one address
	var wide []netip.Prefix
	for _, p := range b {
		if p.IsSingleIP() {
			single[p] = true
		} else {
			wide = append(wide, p)
		}
	}
	for _, p := range a {
		if p.IsSingleIP() {
			if single[p] || slices.ContainsFunc(wide, p.Overlaps) {
				out = append(out, p)
			}
			continue
		}
		for _, q := range wide {
			switch {
			case !p.Overlaps(q):
			case p.Bits() >= q.Bits():
				out = append(out, p)
			default:
				out = append(out, q)
			}
		}
		for q := range single {
			if p.Overlaps(q) {
				out = append(out, q)
			}
		}
	}
	return out
}

// names are the DNS names and the Consul services that environments ask for.
type names struct{ hosts, services []string }

// namesOf collects those of documents that can matter to a balancer, in order.
func namesOf(docs []*Document, self Self) (n names) {
	hosts, services := map[string]bool{}, map[string]bool{}
	for _, d := range docs {
		for _, env := range d.Environments {
			if !env.When.holdsFor(self) {
				continue
			}
			for _, h := range env.When.Host {
				hosts[h] = true
			}
			for _, s := range env.When.Service {
				services[s] = true
			}
		}
	}
	return names{slices.Sorted(maps.Keys(hosts)), slices.Sorted(maps.Keys(services))}
}

func (n names) equal(o names) bool {
	return slices.Equal(n.hosts, o.hosts) && slices.Equal(n.services, o.services)
}
