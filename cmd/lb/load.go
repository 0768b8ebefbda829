package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"serin/admin"
)

// given is everything a start is told: values of flags by key, the environment
// as os.Environ gives it, and the configuration file with its name.
type given struct {
	flags   map[string]string
	environ []string
	file    []byte
	name    string // of the file; "" is none
	// defaults are what is not given; nil is Default.
	defaults func() Config
}

// notOptions are the LB_ variables that belong to no row of the table.
var notOptions = []string{"LB_CONFIG", "LB_ADDR", "LB_TOKEN"}

// load builds the configuration: flag before variable before file before the
// default; an empty variable is none. It is pure, and its error joins every mistake, not the first alone.
func load(g given) (Config, error) {
	if g.defaults == nil {
		g.defaults = Default
	}
	cfg := g.defaults()
	cfg.sources = map[string]string{}
	var errs []error
	env := map[string]string{}
	for _, kv := range g.environ {
		if name, value, _ := strings.Cut(kv, "="); value != "" { // compose files set what they mean to leave out
			env[name] = value
		}
	}
	file := parseFile(g.name, g.file)
	errs = append(errs, file.errs...)
	known := slices.Clone(notOptions)
	for _, o := range options {
		known = append(known, o.env())
		var text, source string
		switch flag, fok := g.flags[o.key]; {
		case fok:
			text, source = flag, "flag --"+o.key
		case has(env, o.env()):
			text, source = env[o.env()], "env "+o.env()
		case file.values[o.key] != nil:
			text, source = file.values[o.key].text, file.values[o.key].at
		case env[o.fallback] != "":
			text, source = env[o.fallback], "env "+o.fallback
			if o.from != nil {
				text = o.from(text)
			}
		default:
			continue
		}
		cfg.sources[o.key] = source
		next := cfg
		if err := o.set(&next, text); err == nil {
			cfg = next
		} else {
			shown := text
			if o.secret {
				shown = redacted
			}
			err = fmt.Errorf("%s = %q (%s): %w", o.key, shown, source, err)
			if v := file.values[o.key]; v != nil && source == v.at {
				err = &mistake{file: file, token: v.token, text: err.Error()}
			}
			errs = append(errs, err)
		}
	}
	names := make([]string, 0, len(env))
	for name := range env {
		if ours(name) && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		errs = append(errs, fmt.Errorf("%s: no option has this variable%s", name, didYouMean(name, known)))
	}
	return cfg, together(append(errs, cfg.Validate()...))
}

// ours reports whether a variable means an option: a name that begins like one.
// Others may live beside them (LB_PORT of a compose file, and what Kubernetes
// sets for services called lb, lb-proxy or lb-ui).
func ours(name string) bool {
	return !serviceLink.MatchString(name) && slices.ContainsFunc(options, func(o *option) bool {
		group, _, _ := strings.Cut(o.env(), "_")
		rest, _, _ := strings.Cut(strings.TrimPrefix(o.env(), group+"_"), "_")
		return strings.HasPrefix(name, group+"_"+rest+"_")
	})
}

// serviceLink matches the variables that Kubernetes and Docker set in every
// container for each service: WEB_SERVICE_HOST, WEB_SERVICE_PORT_HTTP, WEB_PORT,
// WEB_PORT_80_TCP_ADDR. See "Discovering services" in the manual of Kubernetes.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)$`)

func has(m map[string]string, key string) bool { _, ok := m[key]; return ok }

const redacted = "[redacted]"

// show returns every option with its value and where that came from, in the
// order of the table. Secrets are redacted; an unset one is shown as empty.
func (c Config) show() []admin.Setting {
	out := make([]admin.Setting, len(options))
	for i, o := range options {
		value := o.text(&c)
		if o.secret && value != "" {
			value = redacted
		}
		out[i] = admin.Setting{Key: o.key, Value: value, Source: c.source(o.key)}
	}
	return out
}
