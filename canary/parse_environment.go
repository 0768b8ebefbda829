package canary

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// MaxEnvironments is how many environments a document may have.
const MaxEnvironments = 64

// MaxHosts is how many DNS names the environments of a document may have: all
// documents share those who look them up.
const MaxHosts = 128

// What environments may change. Everything else is of the whole document.
var (
	clientFields   = []string{"ratio", "ramp", "method", "sticky", "balance", "match", "mirror", "limits"}
	balancerFields = []string{"canary", "stable", "backup", "on_stale", "stale_after"}
	wholeFields    = []string{"steps", "analysis", "control", "id", "notify", "config_server", "environments", "expires", "update_rate"}
)

// environmentError is a contradiction between an environment and the rest of
// the document. It is told when the rest has no mistake of its own.
type environmentError struct {
	at        node
	hint, msg string
}

func (p *parser) environments(n, root node) (all []Environment, late []*environmentError) {
	switch {
	case n.kind != '[':
		p.wrong(n, "a list of environments")
	case len(n.elems) > MaxEnvironments:
		p.fail(n, "", "%s has %d environments, more than %d", n.path, len(n.elems), MaxEnvironments)
		return nil, nil
	}
	root.members = slices.DeleteFunc(slices.Clone(root.members), func(m member) bool { return m.name == "environments" })
	named := map[string]bool{}
	for _, e := range n.elems {
		env, patch := p.environment(e)
		if name, ok := e.member("name"); ok && named[env.Name] {
			p.fail(name, "", `%s "%s" is the name of another environment too`, name.path, short(env.Name))
		}
		named[env.Name] = true
		if p.err != nil {
			return all, late
		}
		all = append(all, env)
		if err := p.patched(e, env, merged(root, patch)); err != nil {
			late = append(late, err)
		}
	}
	return all, late
}

// environment reads one environment and returns its patch, an object, as well.
func (p *parser) environment(n node) (env Environment, patch node) {
	patch = n
	patch.members = nil
	known := fields{
		"name":    func(n node) { env.Name = p.name(n, "the name of an environment") },
		"when":    func(n node) { env.When = p.when(n) },
		"roll":    func(n node) { env.Roll = p.roll(n) },
		"comment": func(node) {},
	}
	for _, m := range n.members {
		if strings.HasPrefix(m.name, "x-") {
			known[m.name] = func(node) {}
		}
	}
	patched := slices.Concat(clientFields, balancerFields, wholeFields)
	for _, name := range patched {
		known[name] = func(node) {}
	}
	p.object(n, "an object with name, when and what is different", known)
	if n.kind != '{' {
		return env, patch
	}
	if _, ok := n.member("name"); !ok {
		p.fail(n, `add "name": "internal"`, "%s has no name", n.path)
	}
	if _, ok := n.member("when"); !ok {
		p.fail(n, `add "when": {"cidr": "10.0.0.0/8"}`, "%s does not say whom it is for", n.path)
	}
	for _, m := range n.members {
		if slices.Contains(patched, m.name) {
			p.patchable(m, env.When.clients())
			patch.members = append(patch.members, m)
		}
	}
	// A field of another name that is null would leave no trace in what is merged.
	names := &parser{key: p.key, src: p.src, naming: true}
	if names.document(patch); names.err != nil && p.err == nil {
		p.err, p.at = names.err, names.at
	}
	env.Patch = patch.append(nil)
	return env, patch
}

// patchable refuses fields that an environment cannot change.
func (p *parser) patchable(m member, clients bool) {
	switch {
	case slices.Contains(clientFields, m.name):
	case m.name == "steps" && m.value.kind == 'n':
	case slices.Contains(wholeFields, m.name):
		hint := "write it beside environments"
		if m.name == "steps" {
			hint = `give the environment a ratio or a ramp, and "steps": null`
		}
		p.failAt(m.off, m.value.path, hint, "%s cannot differ between environments", m.value.path)
	case clients:
		p.failAt(m.off, m.value.path, "the environment of a balancer (node, datacenter, tag) can", "%s cannot differ between clients", m.value.path)
	}
}

// patched checks the document that an environment makes. A mistake within the
// environment is reported at once, where it stands.
func (p *parser) patched(e node, env Environment, doc node) *environmentError {
	if ramp, ok := e.member("ramp"); ok && ramp.kind == '{' {
		if made, ok := doc.member("ramp"); ok {
			if _, over := made.member("over"); over {
				p.fail(ramp, `give it start and end, and "over": null where the document's ramp has over`,
					"%s counts from the first application, which is of the whole document", ramp.path)
			}
		}
	}
	doc.path = "" // x-* fields may stand in it
	sub := &parser{key: p.key, src: p.src, within: &e}
	sub.document(doc)
	p.all += sub.re
	switch {
	case sub.err == nil && p.all > maxRegexpTotal:
		p.fail(e, "use fewer regular expressions or environments", "%s makes the regular expressions of all environments too large", e.path)
	case sub.err == nil:
	case sub.inside(sub.at):
		if p.err == nil {
			p.err, p.at = sub.err, sub.at
		}
	default:
		return &environmentError{e, sub.err.Hint, fmt.Sprintf(`environment "%s" makes a document that is refused: %s`, short(env.Name), sub.err.Msg)}
	}
	return nil
}

func (p *parser) when(n node) (w When) {
	list := func(to *[]string, what string, read func(node) string) func(node) {
		return func(n node) { *to = p.list(n, what+" or a list of them", read) }
	}
	text := func(what string) func(node) string { return func(n node) string { return p.name(n, what) } }
	p.object(n, "an object with node, datacenter, tag, cidr, host or service", fields{
		"node":       list(&w.Node, "a Consul node", text("the name of a node")),
		"datacenter": list(&w.Datacenter, "a datacenter", text("the name of a datacenter")),
		"tag":        list(&w.Tag, "a tag of the balancer", text("the name of a tag")),
		"cidr":       list(&w.CIDR, "a network", p.cidr),
		"host":       list(&w.Host, "a DNS name", p.dnsName),
		"service":    list(&w.Service, "a Consul service", text("the name of a service")),
	})
	if n.kind == '{' && len(n.members) == 0 {
		p.fail(n, "name node, datacenter, tag, cidr, host or service", "%s is empty and would hold for everyone", n.path)
	}
	return w
}

func (p *parser) dnsName(n node) string {
	if p.hosts++; p.hosts == MaxHosts+1 {
		p.fail(n, "write their networks as cidr", "%s is one DNS name more than the %d that a document may have", n.path, MaxHosts)
	}
	if !domainRE.MatchString(n.text) {
		p.fail(n, "addresses and networks are cidr", `%s "%s" is not a DNS name`, n.path, short(n.text))
	}
	return n.text
}

// clients reports whether clients are asked for.
func (w When) clients() bool { return len(w.CIDR)+len(w.Host)+len(w.Service) > 0 }

// MarshalJSON writes the environment with its patch beside the other fields.
func (e Environment) MarshalJSON() ([]byte, error) {
	type plain Environment
	b, err := json.Marshal(plain(e))
	if err != nil {
		return nil, err
	}
	patch := bytes.TrimSpace(e.Patch)
	if len(patch) <= len("{}") {
		return b, nil
	}
	return slices.Concat(b[:len(b)-1], []byte(","), patch[1:]), nil
}
