package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"serin/canary"
	"serin/canary/rollout"
	"serin/route"
)

type schema = jsonschema.Schema

// document returns the schema of a canary document, with the descriptions of
// the page.
func document(page string) []byte {
	about, names := descriptions(page), paths()
	r := &jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		Mapper:         mapped,
		LookupComment:  func(t reflect.Type, field string) string { return about[names[t][field]] },
	}
	s := r.Reflect(&canary.Document{})
	s.Title = "Canary document"
	s.Description = "What steers one service's canary: a value in Consul KV, see docs/CANARY.md."
	e := editor{s}
	e.definitions()
	e.types()
	e.whole()
	e.environment()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// mapped are the types whose JSON form is not that of their Go type.
func mapped(t reflect.Type) *schema {
	switch t {
	case reflect.TypeFor[canary.Duration]():
		return ref("duration")
	case reflect.TypeFor[time.Time]():
		return ref("time")
	case reflect.TypeFor[canary.Pausing]():
		return either(&schema{Const: true}, ref("span"))
	case reflect.TypeFor[route.InstanceSticky]():
		return either(&schema{Type: "boolean"}, &schema{Const: "node"})
	}
	return nil
}

func ref(name string) *schema { return &schema{Ref: "#/$defs/" + name} }

func either(of ...*schema) *schema { return &schema{AnyOf: of} }

func pattern(re string) *schema { return &schema{Type: "string", Pattern: re} }

func words(list ...string) *schema {
	s := &schema{Type: "string"}
	for _, w := range list {
		s.Enum = append(s.Enum, w)
	}
	return s
}

func number(above, most float64) *schema {
	return &schema{Type: "number", ExclusiveMinimum: literal(above), Maximum: literal(most)}
}

func whole(least, most int) *schema {
	return &schema{Type: "integer", Minimum: literal(float64(least)), Maximum: literal(float64(most))}
}

func literal(v float64) json.Number { b, _ := json.Marshal(v); return json.Number(b) }

// several is one string, or a list of at least one.
func several(of *schema) *schema {
	return either(of, &schema{Type: "array", Items: of, MinItems: new(uint64(1))})
}

func list(of *schema, least, most int) *schema {
	s := &schema{Type: "array", Items: of, MaxItems: new(uint64(most))}
	if least > 0 {
		s.MinItems = new(uint64(least))
	}
	return s
}

// editor says what the Go types cannot.
type editor struct{ root *schema }

func (e editor) def(name string) *schema {
	if name == "Document" {
		return e.root
	}
	s := e.root.Definitions[name]
	if s == nil {
		panic("no definition " + name)
	}
	return s
}

// set replaces what is known of a field, but for its description.
func (e editor) set(typ, field string, s *schema) {
	props := e.def(typ).Properties
	old, ok := props.Get(field)
	if !ok {
		panic("no field " + typ + "." + field)
	}
	s.Description = old.Description
	props.Set(field, s)
}

const (
	tokenRE  = "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$"
	lineRE   = `^[^\x00-\x1f\x7f]+$`
	domainRE = `^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`
)

func (e editor) definitions() {
	defs := e.root.Definitions
	percent := pattern(`^0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$`)
	defs["share"] = either(&schema{Type: "number", Minimum: "0", Maximum: "1"}, percent)
	defs["share"].Description = `A share: a number 0..1, or a percentage such as "10%".`
	defs["duration"] = pattern(`^\+?0$|^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`)
	defs["duration"].Description = `A time with its unit: "500ms", "30s", "1h30m".`
	defs["span"] = &schema{Ref: "#/$defs/duration", Not: pattern(`^[^1-9]*$`), Description: `A time longer than 0: "30s", "1h30m".`}
	defs["time"] = pattern(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`)
	defs["time"].Format = "date-time"
	defs["time"].Not = pattern(`^(0|1[0-8]|19[0-6])`)
	defs["time"].Description = `A moment with its zone (RFC 3339): "2026-11-22T10:00:00Z".`
	defs["name"] = pattern(lineRE)
	defs["pattern"] = either(pattern(`^~`), pattern(`^[^~*]*\*?$`), pattern(`^[^~*][^*]*\*?$`))
	defs["pattern"].Description = `An exact text, "prefix*", "~regexp" (RE2), or "*": present.`
}

func (e editor) types() {
	share, name, span := ref("share"), ref("name"), ref("span")
	for field, s := range map[string]*schema{
		"Document.ratio":         share,
		"Document.method":        words("random", "round_robin", "hash"),
		"Document.sticky":        either(&schema{Type: "boolean"}, keySource(), ref("Sticky")),
		"Document.balance":       words("p2c", "least_conn", "round_robin", "random", "hash"),
		"Document.canary":        either(name, ref("Selector")),
		"Document.stable":        either(name, ref("Selector")),
		"Document.backup":        either(name, ref("Selector")),
		"Document.match":         list(ref("Rule"), 0, canary.MaxRules),
		"Document.id":            {Type: "string", Pattern: lineRE, MaxLength: new(uint64(128))},
		"Document.steps":         list(ref("Step"), 1, canary.MaxSteps),
		"Document.analysis":      either(&schema{Const: true}, ref("Analysis")),
		"Document.control":       words("run", "pause", "promote", "abort"),
		"Document.mirror":        either(share, ref("Mirror")),
		"Document.notify":        list(ref("Notify"), 0, canary.MaxNotify),
		"Document.environments":  list(ref("Environment"), 0, canary.MaxEnvironments),
		"Document.on_stale":      words("stable", "hold"),
		"Document.config_server": pattern(`^(consul://[^/@?#]+/+[^/?#][^?#]*|https?://[^/@?#]+([/?][^#]*)?|file:(/|///)[^/?#]([^?#]*[^/?#])?)$`),

		"Limits.max_ratio":   share,
		"Limits.min_healthy": whole(1, 1<<31-1),
		"Limits.overload":    number(0, 1e6),

		"Ramp.from": share,
		"Ramp.to":   share,
		"Ramp.over": span,

		"Step.ratio":  share,
		"Step.mirror": share,
		"Step.for":    span,

		"Analysis.alpha":           number(0, 0.5),
		"Analysis.beta":            number(0, 0.5),
		"Analysis.margin":          number(1, 100),
		"Analysis.max_error_rate":  {Ref: share.Ref, Not: either(&schema{Const: 0}, pattern(`^[^1-9]*$`))},
		"Analysis.slow":            either(&schema{Const: "auto"}, span),
		"Analysis.min_requests":    whole(1, 1<<31-1),
		"Analysis.failures":        several(words("5xx", "connect", "timeout", "reset", "truncated", "grpc")),
		"Analysis.on_fail":         words("rollback", "pause"),
		"Analysis.on_inconclusive": words("wait", "pause", "promote"),
		"Analysis.max_wait":        span,

		"Mirror.ratio":        share,
		"Mirror.methods":      several(pattern(tokenRE)),
		"Mirror.max_body":     whole(0, 16<<20),
		"Mirror.timeout":      span,
		"Mirror.max_inflight": whole(1, 10_000),

		"Environment.name": name,
		"When.node":        several(name),
		"When.datacenter":  several(name),
		"When.tag":         several(name),
		"When.cidr":        several(pattern(`^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`)),
		"When.host":        several(pattern(domainRE)),
		"When.service":     several(name),

		"Notify.url":     either(pattern(`^https?://[^/?#].*$`), secret()),
		"Notify.on":      several(words(rollout.EventStart, rollout.EventStep, rollout.EventPause, rollout.EventResume, rollout.EventPromote, rollout.EventRollback, rollout.EventDocument, rollout.EventInvalid)),
		"Notify.headers": {Type: "object", PropertyNames: pattern(tokenRE), AdditionalProperties: either(secret(), &schema{Type: "string", Pattern: lineRE, Not: pattern("^(env|file):")})},

		"Sticky.by":        several(keySource()),
		"Cookie.name":      pattern(tokenRE),
		"Cookie.domain":    pattern(domainRE),
		"Cookie.same_site": words("Lax", "Strict", "None"),

		"Selector.tag":     name,
		"Selector.service": name,
		"Selector.meta":    {Type: "object", MinProperties: new(uint64(1)), AdditionalProperties: &schema{Type: "string"}},

		"Rule.header": {Type: "object", MinProperties: new(uint64(1)), PropertyNames: pattern(tokenRE), AdditionalProperties: ref("pattern")},
		"Rule.cookie": {Type: "object", MinProperties: new(uint64(1)), PropertyNames: pattern(tokenRE), AdditionalProperties: ref("pattern")},
		"Rule.query":  {Type: "object", MinProperties: new(uint64(1)), AdditionalProperties: ref("pattern")},
		"Rule.path":   {Ref: "#/$defs/pattern", Pattern: `^(/|~|\*$)`},
		"Rule.method": several(pattern(tokenRE)),
		"Rule.cidr":   several(pattern(`^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`)),
		"Rule.to":     words("canary", "stable"),
	} {
		typ, name, _ := strings.Cut(field, ".")
		e.set(typ, name, new(*s))
	}
	e.def("Sticky").Required = nil
	e.def("Selector").MinProperties = new(uint64(1))
	e.def("When").MinProperties = new(uint64(1))
	e.def("Rule").MinProperties = new(uint64(2))
	has := func(fields ...string) *schema { return &schema{Required: fields} }
	e.def("Ramp").OneOf = []*schema{has("over"), has("start", "end")}
	e.def("Ramp").DependentRequired = map[string][]string{"start": {"end"}, "end": {"start"}}
	e.def("Ramp").DependentSchemas = map[string]*schema{"over": without("start", "end")}
	e.def("Step").AnyOf = []*schema{has("ratio"), has("mirror"), has("pause")}
	e.def("Step").DependentSchemas = map[string]*schema{"pause": without("ratio", "mirror", "for")}
}

// without says that none of these fields is there.
func without(fields ...string) *schema {
	s := &schema{Properties: jsonschema.NewProperties()}
	for _, f := range fields {
		s.Properties.Set(f, jsonschema.FalseSchema)
	}
	return s
}

// secret is a reference, but not to a variable of the balancer's own.
func secret() *schema {
	s := pattern(`^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.*[^/])$`)
	s.Not = pattern("^env:(LB|CONSUL)_")
	return s
}

func keySource() *schema {
	return pattern("^(cookie|ip|(cookie|header):[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256})$")
}

func (e editor) whole() {
	d := e.root
	d.DependentSchemas = map[string]*schema{
		"ratio": without("ramp", "steps"), "ramp": without("ratio", "steps"), "steps": without("ratio", "ramp"),
	}
	d.Properties.Set("comment", &schema{Description: "Ignored: for people."})
	d.Properties.Set("$schema", &schema{Description: "Ignored: for editors."})
	d.PatternProperties = map[string]*schema{"^x-": {Description: "Ignored: for other programs."}}
}

// environment adds the fields of a patch: those of the document that may
// differ, each or null.
func (e editor) environment() {
	env := e.def("Environment")
	clients := []string{"ratio", "ramp", "method", "sticky", "balance", "match", "mirror", "limits"}
	balancers := []string{"canary", "stable", "backup", "on_stale", "stale_after"}
	for _, field := range slices.Concat(clients, balancers) {
		s, ok := e.root.Properties.Get(field)
		if !ok {
			panic("no field " + field)
		}
		env.Properties.Set(field, e.patch(s))
	}
	env.Properties.Set("steps", &schema{Type: "null", Description: "null, where the environment has a ratio or a ramp instead."})
	env.Properties.Set("comment", &schema{Description: "Ignored: for people."})
	env.PatternProperties = e.root.PatternProperties

	forClients := jsonschema.NewProperties()
	forClients.Set("when", either(&schema{Required: []string{"cidr"}}, &schema{Required: []string{"host"}}, &schema{Required: []string{"service"}}))
	env.If = &schema{Properties: forClients, Required: []string{"when"}}
	env.Then = without(balancers...)
	// null removes, so that it excludes nothing.
	set := &schema{Not: &schema{Type: "null"}}
	both := jsonschema.NewProperties()
	both.Set("ratio", set)
	both.Set("ramp", set)
	env.Not = &schema{Properties: both, Required: []string{"ratio", "ramp"}}
}

// patch is what a merge patch (RFC 7396) may have for s: s in parts, or null.
func (e editor) patch(s *schema) *schema {
	out := either(e.parts(s), &schema{Type: "null"})
	out.Description = s.Description
	return out
}

// parts makes every field of the objects in s optional, and lets it be null.
func (e editor) parts(s *schema) *schema {
	name := strings.TrimPrefix(s.Ref, "#/$defs/")
	switch def := e.root.Definitions[name]; {
	case s.AnyOf != nil:
		out := new(*s)
		out.AnyOf, out.Description = nil, ""
		for _, o := range s.AnyOf {
			out.AnyOf = append(out.AnyOf, e.parts(o))
		}
		return out
	case def != nil && def.Properties != nil:
		patched := name + "Patch"
		if e.root.Definitions[patched] == nil {
			p := &schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema, Properties: jsonschema.NewProperties()}
			e.root.Definitions[patched] = p
			for field, v := range def.Properties.FromOldest() {
				p.Properties.Set(field, e.patch(v))
			}
			if name == "Ramp" {
				p.Properties.Set("over", &schema{Type: "null", Description: "null, where the document's ramp has over."})
			}
		}
		return ref(patched)
	}
	out := new(*s)
	out.Description = ""
	if s.AdditionalProperties != nil { // names of any kind
		out.MinProperties = nil
		out.AdditionalProperties = e.patch(s.AdditionalProperties)
	}
	return out
}
