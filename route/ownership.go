package route

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// OwnershipMode says whether a service may claim what another has claimed.
type OwnershipMode uint8

const (
	// OwnershipOff lets services share routes, as in Fabio.
	OwnershipOff OwnershipMode = iota
	// FirstOwner lets the first owner of a host and path keep it and all that
	// is below it; what others claim there is refused, unless a rule allows it.
	FirstOwner
	// Strict refuses every claim that no rule allows.
	Strict
)

// OwnershipRule allows services to claim hosts and paths.
type OwnershipRule struct {
	// Services are patterns of service names: a name, or one with "*" for any
	// run of characters.
	Services []string
	// Claims are what they may claim, each as [host]/path: that path of that
	// host and what is below it. A host of "*.suffix" allows every host below,
	// "*" every host.
	Claims []string
}

// Ownership is the operator's policy of who may claim what.
//
// In the mode FirstOwner a place (a host and a path) is owned by the service
// that claimed it first: the one that Owners names, else the one that a table
// of the same Builder knows, else, of services that come in one build, the one
// that has the instance that was registered first. A claim of another service
// is refused where it would take requests from that place: its host is the
// owner's or a part of it, and its path is the owner's or longer. Claims for no
// host take requests only from each other. Route commands are the operator's
// own: they are never refused, and own nothing.
type Ownership struct {
	Mode  OwnershipMode
	Rules []OwnershipRule
	// Owners names the services that own places ("host/path", as
	// [Table.Owners] writes them) from an earlier table or process. Nil keeps
	// those of the Builder's last table; otherwise nobody else is an owner
	// from before. They count in the first table that is built from it.
	Owners map[string]string
	// Hold keeps a place for its owner when it claims it no longer, until
	// an Ownership comes whose Owners name it no longer. Without it such a
	// place is free at once.
	Hold bool
}

// ParseOwnership reads the rules of an ownership policy:
//
//	{"rules": [{"services": ["web-*"], "claims": ["shop.example/", "*.shop.example/"]}]}
//
// It is strict: anything else in the text is an error, which says where.
func ParseOwnership(text []byte) ([]OwnershipRule, error) {
	var doc struct {
		Rules *[]struct {
			Services []string `json:"services"`
			Claims   []string `json:"claims"`
		} `json:"rules"`
	}
	if err := checkMembers(text); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("ownership policy: %w", plainJSON(err))
	}
	if doc.Rules == nil {
		return nil, errors.New(`ownership policy: "rules" is missing: write {"rules": []} to allow nothing`)
	}
	rules := make([]OwnershipRule, len(*doc.Rules))
	for i, r := range *doc.Rules {
		rules[i] = OwnershipRule{r.Services, r.Claims}
		if err := rules[i].check(); err != nil {
			return nil, fmt.Errorf("ownership policy: rules[%d]: %w", i, err)
		}
	}
	return rules, nil
}

// checkMembers refuses what encoding/json would take without a word: members
// in other letters, members given twice, and what follows the document.
func checkMembers(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	type level struct {
		object, value bool
		seen          map[string]bool
	}
	var stack []level
	known := map[string]bool{"rules": true, "services": true, "claims": true}
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 && dec.InputOffset() > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ownership policy: at offset %d: %w", dec.InputOffset(), plainJSON(err))
		}
		if n := len(stack); n > 0 && stack[n-1].object && !stack[n-1].value {
			if name, ok := tok.(string); ok {
				if !known[name] {
					return fmt.Errorf(`ownership policy: at offset %d: unknown member %q: want rules, services or claims`, dec.InputOffset(), name)
				}
				if stack[n-1].seen[name] {
					return fmt.Errorf("ownership policy: at offset %d: member %q is given twice", dec.InputOffset(), name)
				}
				stack[n-1].seen[name], stack[n-1].value = true, true
				continue
			}
		}
		if n := len(stack); n > 0 {
			stack[n-1].value = false
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if len(stack) > 8 {
				return fmt.Errorf("ownership policy: at offset %d: too deep", dec.InputOffset())
			}
			stack = append(stack, level{object: tok == json.Delim('{'), seen: map[string]bool{}})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 {
			if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
				return fmt.Errorf("ownership policy: at offset %d: nothing may follow the document", dec.InputOffset())
			}
			return nil
		}
	}
}

// plainJSON takes Go's words out of an error of encoding/json.
func plainJSON(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("at offset %d: %s cannot be %s", e.Offset, cmp.Or(e.Field, "the document"), e.Value)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the document is not complete")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

func (r *OwnershipRule) check() error {
	switch {
	case len(r.Services) == 0:
		return errors.New(`"services" is missing or empty: name the services that the rule is for, "*" for all`)
	case len(r.Claims) == 0:
		return errors.New(`"claims" is missing or empty: name what the services may claim, as host/path`)
	}
	for i, s := range r.Services {
		if s == "" || strings.TrimSpace(s) != s {
			return fmt.Errorf("services[%d]: %q is not the name of a service", i, s)
		}
	}
	for i, c := range r.Claims {
		if _, err := parseGrant(c); err != nil {
			return fmt.Errorf("claims[%d]: %w", i, err)
		}
	}
	return nil
}

// grant is one host and path that a rule allows.
type grant struct {
	spotKey
	anywhere bool // host "*"
}

func parseGrant(s string) (g grant, err error) {
	host, path := s, "/"
	if i := strings.IndexByte(s, '/'); i >= 0 {
		host, path = s[:i], s[i:]
	}
	if s == "" {
		return g, errors.New(`it is empty: write host/path, or "*/" for every host`)
	}
	if g.anywhere = host == "*"; host != "" && !g.anywhere {
		if g.host, _, err = parseHost(host, strings.HasPrefix(host, "*.")); err != nil {
			return g, err
		}
		g.host = estateHost(g.host)
	}
	if _, err := checkPath(path); err != nil {
		return g, err
	}
	g.key, _ = cleanPath(path)
	return g, nil
}

// allows reports whether the grant holds a place: a path ends at a segment, so
// that "/api" allows "/api/v1" and not "/apiary".
func (g *grant) allows(k spotKey) bool {
	return (g.anywhere || hostWithin(k.host, g.host)) && segmentsWithin(k.key, g.key)
}

func segmentsWithin(key, in string) bool {
	rest, ok := strings.CutPrefix(key, in)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(in, "/"))
}

// estateHost is the host of a claim without the ports that a request need not
// name, and "" for all that any host can reach.
func estateHost(host string) string {
	host = strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ":443")
	if name, _ := splitPort(host); name == "*" {
		return ""
	}
	return host
}

// hostWithin reports whether every request for the host, which may be a
// wildcard or a glob, is one for the owner's host.
func hostWithin(host, owner string) bool {
	if host == owner {
		return true
	}
	suffix, ok := strings.CutPrefix(owner, "*")
	if !ok || host == "" {
		return false
	}
	return strings.HasSuffix(host[strings.LastIndexAny(host, globChars)+1:], suffix)
}

// policy is an Ownership made ready for questions.
type policy struct {
	from    *Ownership
	mode    OwnershipMode
	byName  map[string][]grant // for services without "*"
	byMatch []match
}

type match struct {
	pattern string
	grants  []grant
}

func newPolicy(from *Ownership) *policy {
	p := &policy{from: from, byName: map[string][]grant{}}
	if from == nil {
		return p
	}
	p.mode = from.Mode
	for _, r := range from.Rules {
		var grants []grant
		for _, c := range r.Claims {
			if g, err := parseGrant(c); err == nil {
				grants = append(grants, g)
			}
		}
		for _, s := range r.Services {
			if strings.Contains(s, "*") {
				p.byMatch = append(p.byMatch, match{s, grants})
			} else {
				p.byName[s] = append(p.byName[s], grants...)
			}
		}
	}
	return p
}

// allows reports whether a rule lets the service claim the place.
func (p *policy) allows(service string, k spotKey) bool {
	k.host = estateHost(k.host)
	holds := func(g grant) bool { return g.allows(k) }
	if slices.ContainsFunc(p.byName[service], holds) {
		return true
	}
	for _, m := range p.byMatch {
		if starMatches(m.pattern, service) && slices.ContainsFunc(m.grants, holds) {
			return true
		}
	}
	return false
}

// starMatches compares a name with a pattern in which "*" is any run of
// characters.
func starMatches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	last := len(parts) - 1
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for _, part := range parts[1:last] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, parts[last])
}

// owns reports whether a claim for exactly the place was no other's.
func (svc *service) owns(p place) bool {
	if svc == nil || svc.titles == nil {
		return false
	}
	i := slices.IndexFunc(svc.claims, func(c claim) bool { return c.spotKey == p.spotKey && c.place() == p })
	return i >= 0 && svc.titles[i].kind == owned
}

// petition is a claim that has no title yet.
type petition struct {
	svc       *service
	claim     int
	seniority uint64
}

// entitle gives every claim of the services that changed its title. changes
// are those services by name, before and after; services of which a claim
// gains or loses its place by that are added.
//
// names are those of changes, in order; it returns them with what was added.
func (b *Builder) entitle(names []string, changes map[string]*change) []string {
	if b.policy.mode == OwnershipOff {
		return names
	}
	if b.policy.mode == Strict {
		for _, name := range names {
			svc := changes[name].new
			if svc == nil {
				continue
			}
			svc.titles = make([]title, len(svc.claims))
			for i := range svc.claims {
				if !b.policy.allows(name, svc.claims[i].spotKey) {
					svc.titles[i].kind = refused
				}
			}
			b.explainRefusals(svc)
		}
		return names
	}
	e := b.estates
	left := map[spotKey]bool{}
	for _, name := range names {
		old := changes[name].old
		if old == nil {
			continue
		}
		for i := range old.titles {
			k := estateOf(old.claims[i].spotKey)
			if t := old.titles[i]; t.kind != owned {
				delete(e.waiting[t.by], name)
				if len(e.waiting[t.by]) == 0 {
					delete(e.waiting, t.by)
				}
			} else if o := e.get(k); o != nil && o.service == name {
				e.leave(k, o)
				left[k] = true
			}
		}
	}
	var open []petition
	for _, name := range names {
		svc := changes[name].new
		if svc == nil {
			continue
		}
		svc.titles = make([]title, len(svc.claims))
		for i := range svc.claims {
			c := &svc.claims[i]
			k := estateOf(c.spotKey)
			if o := e.get(k); o != nil && o.service == name && (c.spotKey == k && c.options.Priority == 0 || changes[name].old.owns(c.place()) || b.before[c.place().text()] == name) {
				e.enter(k, o, c)
			} else {
				open = append(open, petition{svc, i, svc.seniority()})
			}
		}
	}
	again := map[string]bool{}
	for k := range left {
		o := e.get(k)
		if o.claims > 0 || b.policy.from.Hold {
			continue
		}
		e.drop(k)
		for name := range e.waiting[k] {
			again[name] = true
		}
		delete(e.waiting, k)
	}
	for _, name := range sortedKeys(again) {
		c := changes[name]
		if c == nil {
			old := b.service(name)
			svc := *old
			svc.titles = slices.Clone(old.titles)
			c = &change{old, &svc}
			changes[name] = c
		} else {
			continue // all its claims are open, or settled
		}
		for i := range c.new.titles {
			if t := c.new.titles[i]; t.kind != owned && e.get(t.by) == nil {
				open = append(open, petition{c.new, i, c.new.seniority()})
			}
		}
	}
	slices.SortStableFunc(open, func(p, q petition) int {
		return cmp.Or(cmp.Compare(p.seniority, q.seniority), strings.Compare(p.svc.name, q.svc.name), cmp.Compare(p.claim, q.claim))
	})
	for _, p := range open {
		name, c := p.svc.name, &p.svc.claims[p.claim]
		k := estateOf(c.spotKey)
		t := &p.svc.titles[p.claim]
		*t = title{}
		by, taken := e.over(name, c)
		o := e.get(k)
		if o != nil && o.service == name && c.spotKey == k && c.options.Priority <= 0 {
			taken = false // it is the place itself
		}
		if !taken {
			if o == nil {
				e.put(k, name, 0)
				o = e.get(k)
			}
			e.enter(k, o, c)
			continue
		}
		t.kind, t.by = refused, by
		if b.policy.allows(name, c.spotKey) {
			t.kind = guest
		}
		e.wait(by, name)
	}
	for _, c := range changes {
		if c.new != nil {
			b.explainRefusals(c.new)
		}
	}
	if len(changes) > len(names) {
		names = sortedKeys(changes)
	}
	return names
}

// explainRefusals adds a problem for each tag that the policy refuses.
func (b *Builder) explainRefusals(svc *service) {
	var unowned []Problem
	for i, t := range svc.titles {
		if t.kind != refused {
			continue
		}
		c := &svc.claims[i]
		err := fmt.Errorf("no rule of the ownership policy allows service %q to claim %s%s: add one, or take the tag away", svc.name, c.host, c.path)
		if b.policy.mode == FirstOwner {
			err = fmt.Errorf("%s%s belongs to service %q, which owns %s%s: give %q a rule in the ownership policy, or take the tag away",
				c.host, c.path, b.estates.get(t.by).service, t.by.host, t.by.key, svc.name)
		}
		for _, tag := range append([]string{c.tag}, c.more...) {
			unowned = append(unowned, svc.problem(nil, tag, err))
		}
	}
	if len(unowned) > 0 || len(svc.rare.unowned) > 0 {
		rare := *svc.rare // which may be another's as well
		rare.unowned = unowned
		svc.rare = &rare
	}
}

// text is the claim as Table.Owners writes it.
func (p place) text() string {
	if p.priority != 0 {
		return fmt.Sprintf("%s%s priority=%d", p.host, p.key, p.priority)
	}
	return p.host + p.key
}

// beginOwnership sets up the estates for a build from nothing: the owners from
// before that still have their claims, and with Hold also the others. again
// says that the Ownership is that of the last table, which knows better by now.
func (b *Builder) beginOwnership(services []*service, again bool) {
	b.estates = newEstates(b.NoGlobs, b.Matcher == GlobMatcher)
	if b.policy.mode != FirstOwner {
		return
	}
	before := b.policy.from.Owners
	if before == nil || again {
		before = b.owners
	}
	if len(before) == 0 {
		return
	}
	b.before = before
	for _, svc := range services {
		for i := range svc.claims {
			if c := &svc.claims[i]; before[c.place().text()] == svc.name && b.estates.get(estateOf(c.spotKey)) == nil {
				b.estates.put(estateOf(c.spotKey), svc.name, 0)
			}
		}
	}
	if !b.policy.from.Hold {
		return
	}
	for text, service := range before {
		text, _, _ = strings.Cut(text, " ")
		if i := strings.IndexByte(text, '/'); i >= 0 {
			if k := estateOf(spotKey{text[:i], text[i:]}); b.estates.get(k) == nil {
				b.estates.put(k, service, 0)
			}
		}
	}
}

// held returns the places that are kept for services which claim them no more.
func (b *Builder) held() map[string]string {
	if !b.estates.moved && b.last != nil {
		return b.last.held
	}
	b.estates.moved = false
	held := make(map[string]string, len(b.estates.vacant))
	for k, service := range b.estates.vacant {
		held[k.host+k.key] = service
	}
	return held
}

// Owners returns the owner of every place ("host/path", of claims with a
// priority "host/path priority=9") that has one, in the mode FirstOwner: what a later process must be told in Ownership.Owners for
// the owners to stay. With Hold those are among them that claim their place no
// more; Held has them alone. It costs in proportion to all claims.
func (t *Table) Owners() map[string]string {
	if t == nil || !t.owning {
		return nil
	}
	owners := maps.Clone(t.held)
	for _, svc := range t.services {
		for i, title := range svc.titles {
			if title.kind == owned {
				owners[svc.claims[i].place().text()] = svc.name
			}
		}
	}
	return owners
}

// Held returns the places that their owners claim no more and that are kept
// for them (see Ownership.Hold). The caller must not change it.
func (t *Table) Held() map[string]string {
	if t == nil {
		return nil
	}
	return t.held
}
