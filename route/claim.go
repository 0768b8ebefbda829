package route

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"serin/registry"
)

// claim is one place that a service claims, with its own targets.
type claim struct {
	spotKey
	path    string   // as in the first tag
	options *Options // of the first tag
	tag     string   // the first one
	more    []string // further tags of the same place
	targets []Target // a piece of one array of the service
}

// place returns what the claims of one route have in common.
func (c *claim) place() place {
	o := c.options
	return place{c.spotKey, o.Priority, o.Condition.String(), !o.Proto.Carried()}
}

type state uint8

const (
	unready state = iota // neither ready nor in maintenance
	ready
	away // in maintenance
)

// state is what may be done with the target.
func (t *Target) state() state {
	switch {
	case t.Ready:
		return ready
	case t.Health == registry.Maintenance:
		return away
	}
	return unready
}

// tagKey is all that the parsed form of a tag depends on.
type tagKey struct{ tag, dc, meta string }

// parsedTag is a tag after parsing: a rule and its place, or an error.
type parsedTag struct {
	path    string
	options *Options
	place   place
	notes   []error // what is wrong with it and does not keep it from being used
	noted   bool    // the service's problems have them
	err     error
}

// reader reads the tags of services, one after the other. It keeps the memory
// that it needs meanwhile, and nothing else. It is for one goroutine.
type reader struct {
	*Builder
	tags    map[tagKey]int // in parsed: instances of a service mostly have the same ones
	parsed  []parsedTag
	places  map[place]int // in claims
	claims  []claim
	latest  []int    // of each claim, its last target in targets, or -1
	targets []Target // of all claims
	of      []int    // of each target, its claim
}

func (b *Builder) reader() *reader {
	return &reader{Builder: b, tags: map[tagKey]int{}, places: map[place]int{}}
}

// reset forgets the last service.
func (r *reader) reset() {
	clear(r.tags)
	clear(r.places)
	clear(r.parsed)
	clear(r.claims)
	clear(r.targets)
	r.parsed, r.claims, r.latest, r.targets, r.of = r.parsed[:0], r.claims[:0], r.latest[:0], r.targets[:0], r.of[:0]
}

// parse returns the parsed form of a tag; r has it until reset, and the pointer
// is good until the next call.
func (r *reader) parse(k tagKey, defaults Defaults) *parsedTag {
	n, ok := r.tags[k]
	if !ok {
		n = len(r.parsed)
		r.tags[k] = n
		r.parsed = append(r.parsed, r.Builder.parse(k, defaults))
	}
	return &r.parsed[n]
}

// claim reads the tags of the service's instances.
func (r *reader) claim(svc *service) {
	r.reset()
	globs := 0
	for i := range svc.from.Instances {
		in := &svc.from.Instances[i]
		addrErr := r.checkAddr(in.Addr)
		routes := 0
		defaults, metaErrs := MetaOptions(in.Meta)
		idHash, nodeHash := hashNames(in.ID, in.Node), hashNames(in.Node)
		for _, tag := range in.Tags {
			p := r.parse(tagKey{tag, cmp.Or(r.Datacenter, in.Datacenter), defaults.String()}, defaults)
			if errors.Is(p.err, ErrNotRoute) {
				continue
			}
			if routes++; routes > maxTags {
				svc.refuse(in, tag, fmt.Errorf("the instance has more than %d route tags: this one and what follows is ignored", maxTags))
				break
			}
			if !p.noted {
				p.noted = true // once for the service
				for _, err := range p.notes {
					svc.refuse(in, tag, err)
				}
			}
			if p.err != nil {
				svc.refuse(in, tag, p.err)
				continue
			}
			n, ok := r.places[p.place]
			if !ok && kindOf(p.place.host, r.NoGlobs) == globHost {
				if globs++; globs > maxGlobHosts {
					svc.refuse(in, tag, fmt.Errorf("the service has more than %d routes whose hosts are globs: this one is ignored, since each costs every request that no other host serves", maxGlobHosts))
					continue
				}
			}
			if !ok {
				n = len(r.claims)
				r.places[p.place] = n
				r.claims = append(r.claims, claim{spotKey: p.place.spotKey, path: p.path, options: p.options, tag: tag})
				r.latest = append(r.latest, -1)
			}
			c := &r.claims[n]
			if c.tag != tag && !slices.Contains(c.more, tag) {
				c.more = append(c.more, tag)
			}
			if k := r.latest[n]; k >= 0 && r.targets[k].of(in) {
				if first := &r.targets[k]; first.Options != p.options && first.Options.String() != p.options.String() {
					svc.refuse(in, tag, fmt.Errorf("the instance claims this route a second time with other options: tag %q holds", first.Tag))
				}
			} else if addrErr == nil {
				r.latest[n] = len(r.targets)
				r.targets = append(r.targets, Target{
					Instance: in, Weight: p.options.Weight, Options: p.options, Tag: tag, Source: "tag", idHash: idHash, nodeHash: nodeHash,
				})
				r.of = append(r.of, n)
			}
		}
		if routes == 0 {
			continue
		}
		for _, err := range metaErrs {
			svc.refuse(in, "", err)
		}
		if addrErr != nil {
			svc.refuse(in, "", addrErr)
		}
		if unchecked(in) {
			svc.refuse(in, "", fmt.Errorf("the instance %s", in.Reason))
		}
	}
	svc.claims = r.take()
}

// take returns the claims with their targets, in memory of just their size.
func (r *reader) take() []claim {
	if len(r.claims) == 0 {
		return nil
	}
	claims := slices.Clone(r.claims)
	sizes := r.latest // it has served
	clear(sizes)
	for _, n := range r.of {
		sizes[n]++
	}
	targets := make([]Target, len(r.targets))
	from := 0
	for n := range claims {
		claims[n].targets = targets[from : from : from+sizes[n]]
		from += sizes[n]
	}
	for i, n := range r.of {
		claims[n].targets = append(claims[n].targets, r.targets[i])
	}
	return slices.Clip(claims)
}

// of reports whether t is one of the instance's.
func (t *Target) of(in *registry.Instance) bool {
	return t.ID == in.ID && t.Node == in.Node && t.Addr == in.Addr
}

func (b *Builder) parse(k tagKey, defaults Defaults) parsedTag {
	rule, err := parseRule(b.prefix(), k.dc, k.tag, defaults)
	notes := rule.Refused
	if err != nil {
		return parsedTag{err: err, notes: notes}
	}
	where, err := b.placeOf(&rule)
	if err != nil {
		return parsedTag{err: err, notes: notes}
	}
	p := parsedTag{path: rule.Path, notes: notes, place: where}
	if k.meta == "" && !strings.ContainsAny(strings.TrimSpace(k.tag), " \t") {
		p.options = &plainOptions
	} else {
		own := rule.Options // not the whole rule
		p.options = &own
	}
	if err := b.checkRedirect(p.options); err != nil {
		return parsedTag{err: err, notes: notes}
	}
	p.notes = append(p.notes, b.doubts(p.options)...)
	return p
}

// doubts says what options ask for that this balancer does not do.
func (b *Builder) doubts(o *Options) (errs []error) {
	for _, what := range o.NotCarried() {
		errs = append(errs, notCarried(what))
	}
	if b.Schemes != nil && o.Auth != "" && !slices.Contains(b.Schemes, o.Auth) {
		errs = append(errs, fmt.Errorf("auth=%s: proxy.auth has no scheme of that name, so nobody is let in", o.Auth))
	}
	return errs
}

// plainOptions are those of a tag that has none: most tags, and one value.
var plainOptions = Options{Weight: -1, Retries: -1}

// notCarried says that an option is understood, and that what it asks for is
// not done.
func notCarried(what string) error {
	return fmt.Errorf("%s %w", what, ErrNotCarried)
}

// ErrNotCarried says that an option is right but what it asks for is not done
// by this version.
var ErrNotCarried = errors.New("parses, its traffic is not carried by this version")

// unchecked reports whether an instance gets nothing only because it lacks a
// health check: that does not pass by itself.
func unchecked(in *registry.Instance) bool {
	return !in.Ready && in.Health == registry.Passing && !slices.ContainsFunc(in.Checks, func(c registry.Check) bool {
		return !c.Node && !strings.HasPrefix(c.ID, "_service_maintenance:")
	})
}

// checkAddr says why an instance's address cannot be a target: it is not
// host:port, or it is one that reaches something else than that instance.
func (b *Builder) checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case addr == "":
		return errors.New("the instance has no address: register it with one")
	case err != nil:
		return fmt.Errorf("address %q is not host:port", addr)
	case host == "":
		return fmt.Errorf("address %q has no host: register the service or its node with one", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q has no port from 1 to 65535: register the service with the port it listens on", addr)
	}
	if ip, err := netip.ParseAddr(host); err != nil {
		if _, _, err := parseHost(host, false); err != nil {
			return fmt.Errorf("address %q: %w", addr, err)
		}
		if label := host[strings.LastIndexByte(host, '.')+1:]; isNumber(label) {
			return fmt.Errorf("address %q: %q is neither a name nor an IPv4 address in its usual form", addr, host)
		}
	} else if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		if _, ok := b.Allowed.find(addr); !ok {
			return fmt.Errorf("address %q is unspecified, multicast or link-local: such addresses are no targets; registry.targets.allow makes an exception", addr)
		}
	}
	if r, ok := b.denied(addr); ok {
		return fmt.Errorf("address %q is denied (%s): it is one of the balancer's own, of Consul, or of registry.targets.deny; registry.targets.allow makes an exception", addr, r)
	}
	return nil
}

// isNumber reports whether a last label makes resolvers read the whole host as
// a number.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

func (b *Builder) denied(addr string) (AddressRange, bool) {
	r, ok := b.Denied.find(addr)
	if !ok {
		return r, false
	}
	_, allowed := b.Allowed.find(addr)
	return r, !allowed
}

// checkRedirect says why a redirect must not lead where it does.
func (b *Builder) checkRedirect(o *Options) error {
	if o.Redirect == nil {
		return nil
	}
	scheme, authority, _ := splitURL(o.Redirect.URL)
	if authority == "" || strings.Contains(authority, "$host") {
		return nil
	}
	name, port := splitPort(authority)
	if port == "" {
		if port = ":80"; strings.EqualFold(scheme, "https://") {
			port = ":443"
		}
	}
	addr := name + port
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			if _, ok := b.Allowed.find(addr); !ok {
				return fmt.Errorf("redirect url %q leads to an unspecified, multicast or link-local address; registry.targets.allow makes an exception", o.Redirect.URL)
			}
		}
	}
	if r, ok := b.denied(addr); ok {
		return fmt.Errorf("redirect url %q leads to a denied address (%s): registry.targets.allow makes an exception", o.Redirect.URL, r)
	}
	return nil
}

// seniority is the index at which the first instance of the service was
// registered; the highest number where that is unknown.
func (svc *service) seniority() uint64 {
	first := uint64(math.MaxUint64)
	if svc.from == nil {
		return first
	}
	for i := range svc.from.Instances {
		if c := svc.from.Instances[i].Created; c > 0 {
			first = min(first, c)
		}
	}
	return first
}
