package control

import (
	"github.com/hashicorp/go-hclog"

	"serin/route"
)

// reportLines bounds how many things of one kind a single swap names.
const reportLines = 20

// report logs what a new table changes: transitions only, and of a great change
// the number and a few examples.
func report(log hclog.Logger, c *route.Changes) {
	if c.Empty() {
		return
	}
	log.Info("routing table changed", "routes_added", len(c.RoutesAdded), "routes_gone", len(c.RoutesGone),
		"targets_added", len(c.TargetsAdded), "targets_gone", len(c.TargetsGone),
		"targets_ready", len(c.TargetsReady), "targets_failed", len(c.TargetsFailed))
	routes := func(what string, list []*route.Route) {
		for _, r := range list[:min(len(list), reportLines)] {
			log.Info(what, "host", r.Host, "path", r.Path)
		}
	}
	targets := func(what string, list []*route.Target) {
		for _, t := range list[:min(len(list), reportLines)] {
			log.Info(what, "service", t.Service, "instance", t.ID, "node", t.Node, "addr", t.Addr)
		}
	}
	problems := func(level hclog.Level, what string, list []route.Problem) {
		for _, p := range list[:min(len(list), reportLines)] {
			if p.Instance == "" && p.Tag == "" { // of a route command: there is no other place
				log.Log(level, what, "where", p.Where, "service", p.Service, "error", p.Error)
				continue
			}
			log.Log(level, what, "service", p.Service, "instance", p.Instance, "node", p.Node, "tag", p.Tag, "error", p.Error)
		}
		if more := len(list) - reportLines; more > 0 {
			log.Log(level, what+", and more of it", "more", more)
		}
	}
	routes("route added", c.RoutesAdded)
	routes("route gone", c.RoutesGone)
	targets("target added", c.TargetsAdded)
	targets("target gone", c.TargetsGone)
	targets("target ready", c.TargetsReady)
	targets("target no longer ready", c.TargetsFailed)
	problems(hclog.Warn, "refused", c.ProblemsAdded)
	problems(hclog.Info, "no longer refused", c.ProblemsGone)
}
