package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"serin/admin"
	"serin/canary"
	"serin/canary/rollout"
	"serin/registry/consul"
)

// applied waits until every balancer has the document at index in force, for a
// service or for all others (""), and says what came of it. Which balancers
// there are the one at lb knows, or, where none answers, Consul. text is the
// document.
func (a *app) applied(ctx context.Context, client *consul.Client, lb *adminAPI, service, key, text string, index uint64, wait time.Duration) error {
	doc, err := canary.Parse(key, []byte(text))
	if err != nil {
		return err // it was written, so it is one
	}
	start := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := lb.canary(ctx, service)
		done, err := a.settled(ctx, client, lb, st, err, service, key, index, doc.ConfigServer != "")
		if err != nil {
			return err
		}
		behind := done.behind
		switch {
		case done.nobody:
			fmt.Fprintf(a.err, "note: no balancer answers at %s to say whether it applied this\n", lb.addr)
			return nil
		case done.note != "":
			fmt.Fprintln(a.err, "note:", done.note)
			return nil
		case done.by != "":
			fmt.Fprintf(a.out, "applied by %s after %d ms%s\n", done.by, time.Since(start).Milliseconds(), done.effect)
			if ended := endedBefore(st, doc); ended != "" {
				fmt.Fprintln(a.err, "note:", ended)
			}
			for _, w := range st.Warnings {
				fmt.Fprintln(a.err, "warning:", w)
			}
			return nil
		}
		if time.Since(start) >= wait {
			err := fmt.Errorf("the balancer at %s did not apply index %d within %s", lb.addr, index, wait)
			if len(behind) > 0 {
				err = fmt.Errorf("not every balancer applied index %d within %s: %s", index, wait, strings.Join(behind, ", "))
			}
			return fail(exitTimeout, err, command("lb canary status", service))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// endedBefore says why a document moves nothing: its rollout came to an end, and
// what ended stays so. It is "" for one that moves, or that was to end.
func endedBefore(st admin.CanaryStatus, doc *canary.Document) string {
	if st.Rollout == nil || st.Rollout.State.ID != doc.ID || doc.Control == string(rollout.Abort) || doc.Control == string(rollout.Promote) {
		return ""
	}
	retry := command("lb canary retry", orAll(st.Service)) + " begins it anew"
	switch st.Rollout.State.Phase {
	case rollout.Promoted:
		return "this rollout was promoted, and everyone stays on the canary: " + retry + ", " + command("lb canary abort", orAll(st.Service)) + " takes everyone back"
	case rollout.RolledBack:
		return "this rollout was rolled back, and nobody goes to the canary: " + retry
	}
	return ""
}

// settlement is how far a document is; the zero value waits.
type settlement struct {
	by     string   // who has applied it, all there are
	effect string   // of it
	note   string   // why it is not waited for
	nobody bool     // nobody is known who could apply it
	behind []string // who has not
}

// settled judges what the balancer at lb answered, or why it did not. elsewhere
// says that the document has a config_server.
func (a *app) settled(ctx context.Context, client *consul.Client, lb *adminAPI, st admin.CanaryStatus, err error, service, key string, index uint64, elsewhere bool) (settlement, error) {
	e, _ := errors.AsType[*exitError](err)
	switch {
	case e != nil && e.code == exitUnreachable:
		nodes, err := publishedNodes(ctx, client, canary.Label(service))
		if err != nil {
			return settlement{}, err
		}
		if len(nodes) == 0 {
			return settlement{nobody: true}, nil
		}
		return nodesSettled(nodes, index)
	case e != nil && e.code == exitNotFound: // it has not seen the key yet
		return settlement{}, nil
	case err != nil:
		return settlement{}, err
	case st.Error != nil && st.Index >= index:
		return settlement{}, fail(exitUsage, fmt.Errorf("the balancer at %s refuses it: %w", lb.addr, st.Error), "it goes on with index "+fmt.Sprint(st.LastGood))
	case elsewhere && st.Key == key && st.Source != key:
		return settlement{note: "the document in force is read from " + st.Source + " (config_server)"}, nil
	case st.Waits != nil && st.Index >= index && st.LastGood < index:
		return settlement{note: "update_rate holds it back until " + st.Waits.Format(time.TimeOnly)}, nil
	case st.Source != key || st.LastGood < index || !st.InTable:
		return settlement{}, nil
	}
	out := settlement{by: "the balancer at " + lb.addr}
	if st.Rollout != nil && len(st.Rollout.Nodes) > 0 {
		if out, err = nodesSettled(st.Rollout.Nodes, index); err != nil {
			return out, err
		}
	}
	out.effect = ": " + inForce(st.ServiceStatus)
	return out, nil
}

// nodesSettled judges what the balancers publish.
func nodesSettled(nodes []rollout.NodeStatus, index uint64) (settlement, error) {
	var out settlement
	for _, n := range nodes {
		switch {
		case n.Rejected >= index:
			return out, fail(exitUsage, fmt.Errorf("balancer %s refuses it: %s", nodeName(n), n.Invalid), fmt.Sprintf("it goes on with index %d", n.Index))
		case n.Index < index:
			out.behind = append(out.behind, fmt.Sprintf("%s is at index %d", nodeName(n), n.Index))
		}
	}
	if out.behind == nil {
		out.by = fmt.Sprintf("%d/%d balancers", len(nodes), len(nodes))
	}
	return out, nil
}

// nodeName is a balancer as people know it.
func nodeName(n rollout.NodeStatus) string {
	if n.Node.Node == "" {
		return n.ID
	}
	return n.ID + " (" + n.Node.Node + ")"
}

// publishedNodes reads from Consul what each balancer publishes of a rollout; a
// balancer that publishes nothing of it is there with index 0.
func publishedNodes(ctx context.Context, client *consul.Client, label string) ([]rollout.NodeStatus, error) {
	pairs, err := client.List(ctx, rollout.NodeKeys)
	if err != nil {
		return nil, consulError(err)
	}
	var nodes []rollout.NodeStatus
	for _, p := range pairs {
		id, of, _ := strings.Cut(strings.TrimPrefix(p.Key, rollout.NodeKeys+"/"), "/")
		if p.Key == rollout.LeaderKey || p.Key == rollout.NodeKeys {
			continue
		}
		i := slices.IndexFunc(nodes, func(n rollout.NodeStatus) bool { return n.ID == id })
		if i < 0 {
			i, nodes = len(nodes), append(nodes, rollout.NodeStatus{Node: rollout.Node{Self: rollout.Self{ID: id}}})
		}
		if of == label {
			var n rollout.Node
			if json.Unmarshal(p.Value, &n) == nil { // else it is as if it had published nothing
				n.ID = id
				nodes[i].Node = n
			}
		}
	}
	return nodes, nil
}

// inForce is a document's effect in one phrase.
func inForce(st canary.ServiceStatus) string {
	text := "canary " + percent(st.Effective)
	if st.Because != "" {
		text += fmt.Sprintf(" (wanted %s; %s)", percent(st.Wanted), st.Because)
	}
	return text
}
