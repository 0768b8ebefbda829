package canary

import (
	"slices"
	"time"

	"serin/route"
)

// Resolve returns the text of the document in force for a service as the asker
// is to have it: for a balancer without the environments that ask for balancers,
// for a client without any. It is a valid document itself, and names no
// config_server; comment and x-* fields are in it. hash identifies it. ok is
// false where no document is in force.
//
// A balancer is given the patch of the environment that it is in, if any. Those
// of clients that come before are left for it to apply, and ask for nothing else
// any more. A client is answered as this balancer serves it.
func (c *Controller) Resolve(service string, a Asker) (text []byte, hash string, ok bool) {
	now := c.current()
	of := service
	v, own := now.inForce[of]
	if !own {
		of = ""
		v = now.inForce[of]
	}
	if v == nil || v.deleted {
		return nil, "", false
	}
	if a.Self != nil {
		roll := func(environment string) uint64 {
			return rollPosition(now.told.secret, Label(of), v.doc.ID, environment, a.Self.Node)
		}
		text = forBalancer(v.raw.Value, v.doc, *a.Self, roll, time.Now())
	} else {
		_, environment := now.splits.For(service).VariantFor(a.Client)
		if environment == "" {
			environment = now.environments[of]
		}
		text = forClient(v.raw.Value, v.doc, environment)
	}
	return text, Hash(text), true
}

// forClient is the text of a document with the patch of one environment, or of
// none, and without environments and config_server. It is pure.
func forClient(text []byte, d *Document, environment string) []byte {
	if len(d.Environments) > 0 {
		env := Environment{}
		if i := slices.IndexFunc(d.Environments, func(e Environment) bool { return e.Name == environment }); i >= 0 {
			env = d.Environments[i]
		}
		text = mustMerge(patchedText(text, env))
	}
	return unsent(text, d)
}

// forBalancer is the text of a document as resolve has it for a balancer: with
// the patch of the environment that it is in, and with those of clients that
// come before. It is pure.
func forBalancer(text []byte, d *Document, self Self, roll func(environment string) uint64, now time.Time) []byte {
	if len(d.Environments) == 0 {
		return unsent(text, d)
	}
	var before []int // environments of clients
	in := -1
	for i, env := range d.Environments {
		if !env.When.holdsFor(self) {
			continue
		}
		if env.When.clients() {
			before = append(before, i)
			continue
		}
		if env.Roll != nil {
			if share, _ := env.Roll.at(now); !route.Below(roll(env.Name), share) {
				continue
			}
		}
		in = i
		break
	}
	root, _ := readNode("document", text)
	all, _ := root.member("environments")
	bare := mustMerge(patchedText(text, Environment{}))
	out := bare
	if in >= 0 {
		out = mustMerge(patchedText(text, d.Environments[in]))
	}
	list := node{kind: '['}
	for _, i := range before {
		env := withoutBalancers(all.elems[i])
		if in >= 0 {
			env = repatched(env, out, mustMerge(patchedText(text, d.Environments[i])))
		}
		list.elems = append(list.elems, env)
	}
	resolved := withEnvironments(out, list, d)
	if _, err := Parse("document", resolved); err == nil || in < 0 {
		return resolved
	}
	// What the clients' environments have and this one takes away cannot be told
	// as a patch of theirs (steps, most likely): the asker, which is in it, is
	// left to apply it.
	list.elems = nil
	for _, i := range before {
		list.elems = append(list.elems, withoutBalancers(all.elems[i]))
	}
	last := all.elems[in]
	last.members = slices.DeleteFunc(slices.Clone(last.members), func(m member) bool { return m.name == "roll" })
	list.elems = append(list.elems, last)
	return withEnvironments(bare, list, d)
}

// withEnvironments puts a list of environments into a document without any.
func withEnvironments(text []byte, list node, d *Document) []byte {
	if len(list.elems) > 0 {
		// Not merged: null in an environment is part of its own patch.
		root, _ := readNode("document", text)
		root.members = append(root.members, member{name: "environments", value: list})
		text = root.append(nil)
	}
	return unsent(text, d)
}

// unsent is a document without config_server.
func unsent(text []byte, d *Document) []byte {
	if d.ConfigServer == "" {
		return text
	}
	root, _ := readNode("document", text)
	root.members = slices.DeleteFunc(root.members, func(m member) bool { return m.name == "config_server" })
	return root.append(nil)
}

// withoutBalancers is an environment that does not ask who the balancer is.
func withoutBalancers(env node) node {
	env.members = slices.Clone(env.members)
	for i, m := range env.members {
		if m.name == "when" {
			env.members[i].value.members = slices.DeleteFunc(slices.Clone(m.value.members), func(m member) bool {
				return m.name == "node" || m.name == "datacenter" || m.name == "tag"
			})
		}
	}
	return env
}

// repatched is an environment of clients whose patch, of the document from,
// makes to of it, as far as clients can differ.
func repatched(env node, from, to []byte) node {
	a, _ := readNode("document", from)
	b, _ := readNode("document", to)
	env.members = slices.DeleteFunc(slices.Clone(env.members), func(m member) bool {
		return m.name == "steps" || slices.Contains(clientFields, m.name)
	})
	for _, m := range difference(a, b).members {
		if m.name == "steps" || slices.Contains(clientFields, m.name) {
			env.members = append(env.members, m)
		}
	}
	return env
}

// difference is a merge patch (RFC 7396) that makes the object b of the object a.
func difference(a, b node) (patch node) {
	patch.kind = '{'
	for _, m := range a.members {
		if _, ok := b.member(m.name); !ok {
			patch.members = append(patch.members, member{name: m.name, value: node{kind: 'n', text: "null"}})
		}
	}
	for _, m := range b.members {
		was, ok := a.member(m.name)
		switch {
		case ok && string(was.append(nil)) == string(m.value.append(nil)):
			continue
		case ok && was.kind == '{' && m.value.kind == '{':
			m.value = difference(was, m.value)
		}
		patch.members = append(patch.members, m)
	}
	return patch
}

// mustMerge is for texts that Parse has read.
func mustMerge(text []byte, err error) []byte {
	if err != nil {
		panic("BUG: a document that was read cannot be merged: " + err.Error())
	}
	return text
}
