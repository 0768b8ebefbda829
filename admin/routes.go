package admin

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"

	"serin/canary"
	"serin/route"
)

// Route is one [host]/path as the API shows it.
type Route struct {
	Host  string `json:"host"` // "" is any
	Path  string `json:"path"`
	Parts []Part `json:"parts"`
}

// Part is one service's part of a route.
type Part struct {
	Service string   `json:"service"`
	Share   float64  `json:"share"` // of the route's traffic
	Canary  *Split   `json:"canary,omitempty"`
	Targets []Target `json:"targets"` // those that are neither ready nor critical are missing
}

// Split is how a canary document divides a part.
type Split struct {
	Ratio   float64 `json:"ratio"`             // in force, after the guards
	Wanted  float64 `json:"wanted"`            // as the document asks
	Because string  `json:"because,omitempty"` // why they differ
	Index   uint64  `json:"index"`             // of the document
	Hash    string  `json:"hash,omitempty"`
}

// Target is one instance as a route sees it.
type Target struct {
	ID    string  `json:"id"`
	Node  string  `json:"node"`
	Addr  string  `json:"addr"`
	Arm   string  `json:"arm"`
	Ready bool    `json:"ready"`
	Share float64 `json:"share"` // of the route's traffic, as the table has it: what is ejected or busy gets less
	Tag   string  `json:"tag"`
}

// RouteTarget is one instance of one route on its own, for scripts.
type RouteTarget struct {
	Host    string   `json:"host"` // "" is any
	Path    string   `json:"path"`
	Service string   `json:"service"`
	Target  string   `json:"target"`  // host:port, "" where the service has none
	Weight  *float64 `json:"weight"`  // the fixed share that is asked for; null is an even part of the rest
	Share   float64  `json:"share"`   // of the route's traffic, as the table has it; 0 where Consul lets it have none
	Tags    []string `json:"tags"`    // of the instance, without those that are routes
	Options string   `json:"options"` // but for the weight
	Source  string   `json:"source"`  // "tag", or the route command's source and line
}

// RouteTargets lists the instances of a table's routes in matching order; of
// one service unless that is "".
func RouteTargets(t *route.Table, tagPrefix, service string) []RouteTarget {
	out := []RouteTarget{}
	for rt := range t.Routes() {
		for _, p := range rt.Parts {
			if service != "" && p.Service != service {
				continue
			}
			arms, n := p.Shares(), 0
			for a := range p.Arms {
				arm := p.Arms[a]
				for i, target := range arm.Ready {
					out = append(out, routeTarget(rt, target, tagPrefix, p.Share*arms[a]*arm.Share(i)))
				}
				for _, target := range arm.Critical {
					out = append(out, routeTarget(rt, target, tagPrefix, 0))
				}
				n += len(arm.Ready) + len(arm.Critical)
			}
			if n == 0 {
				out = append(out, RouteTarget{Host: rt.Host, Path: rt.Path, Service: p.Service, Tags: []string{}})
			}
		}
	}
	return out
}

func routeTarget(r *route.Route, t *route.Target, tagPrefix string, share float64) RouteTarget {
	out := RouteTarget{
		Host: r.Host, Path: r.Path, Service: t.Service, Target: t.Addr, Share: share,
		Tags: otherTags(t, tagPrefix), Source: cmp.Or(t.Source, "tag"),
	}
	if t.Weight >= 0 {
		out.Weight = &t.Weight
	}
	options := *t.Options
	options.Weight = -1
	out.Options = strings.TrimSpace(options.String())
	return out
}

// otherTags returns the tags of a target that are no routes.
func otherTags(t *route.Target, tagPrefix string) []string {
	tags := []string{}
	for _, tag := range t.Tags {
		if !strings.HasPrefix(strings.TrimSpace(tag), tagPrefix) {
			tags = append(tags, tag)
		}
	}
	return tags
}

func (s *Server) routes(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var b bytes.Buffer
	if err := WriteRoutes(&b, s.table(), s.tagPrefix(), q.Get("service"), q.Get("format")); err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "?format=commands, ?format=targets, or none")
		return
	}
	kind := "application/json"
	if q.Get("format") == "commands" {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b.Bytes()) // the client went away, or the connection says so itself
}

// WriteRoutes writes the routes of a table, of one service unless that is "",
// in a format: "" is a list of Route in JSON, "targets" one of RouteTarget, and
// "commands" route commands. Others are an error.
func WriteRoutes(w io.Writer, t *route.Table, tagPrefix, service, format string) error {
	switch format {
	case "":
		return encode(w, viewRoutes(t, service))
	case "targets":
		return encode(w, RouteTargets(t, tagPrefix, service))
	case "commands":
		return writeCommands(w, t, service)
	}
	return fmt.Errorf("no format %q of routes is known", format)
}

func viewRoutes(t *route.Table, service string) []Route {
	out := []Route{}
	for rt := range t.Routes() {
		view := Route{Host: rt.Host, Path: rt.Path, Parts: []Part{}}
		for _, p := range rt.Parts {
			if service == "" || p.Service == service {
				view.Parts = append(view.Parts, viewPart(p))
			}
		}
		if len(view.Parts) > 0 {
			out = append(out, view)
		}
	}
	return out
}

// tableRoutes yields the routes of the table in use.
func (s *Server) tableRoutes() func(yield func(*route.Route) bool) {
	t := s.table()
	if t == nil {
		return func(func(*route.Route) bool) {}
	}
	return t.Routes()
}

func viewPart(p *route.Part) Part {
	out := Part{Service: p.Service, Share: p.Share, Canary: viewSplit(p.Split, p.Effect()), Targets: []Target{}}
	arms := p.Shares()
	for name := range p.Arms {
		arm := p.Arms[name]
		for i, t := range arm.Ready {
			out.Targets = append(out.Targets, viewTarget(t, route.ArmName(name), true, p.Share*arms[name]*arm.Share(i)))
		}
		for _, t := range arm.Critical {
			out.Targets = append(out.Targets, viewTarget(t, route.ArmName(name), false, 0))
		}
	}
	return out
}

func viewTarget(t *route.Target, arm route.ArmName, ready bool, share float64) Target {
	return Target{ID: t.ID, Node: t.Node, Addr: t.Addr, Arm: arm.String(), Ready: ready, Share: share, Tag: t.Tag}
}

// viewSplit leaves out everything secret, such as the key of the sticky hash.
func viewSplit(s *route.Split, e route.Effect) *Split {
	if s == nil || !s.Explicit {
		return nil
	}
	return &Split{e.Ratio, s.Wanted, canary.JoinReasons(s.Because, e.Because), s.Index, s.DocHash}
}
