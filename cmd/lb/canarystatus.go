package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"serin/admin"
	"serin/canary"
	"serin/canary/rollout"
)

func (a *app) canaryStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [SERVICE|--all]",
		Short: "Show what the balancers make of the documents",
		Long: "Show the share in force and why it is not what is wanted, the rollout, its\nevidence, and which balancers have applied the document.\n\n" +
			"--until waits for a phase: the exit code is 0 when it comes, 7 when the rollout is\nrolled back instead, 1 when it is promoted instead, 6 after --timeout.",
		Args:              usage(cobra.MaximumNArgs(1)),
		Example:           "  lb canary status\n  lb canary status web --watch\n  lb canary status web --until promoted --timeout 2h",
		ValidArgsFunction: a.completeService,
	}
	all := cmd.Flags().Bool("all", false, "the document of all services without their own, instead of SERVICE")
	asJSON := cmd.Flags().Bool("json", false, "print JSON, as /api/v1/canary answers")
	watch := cmd.Flags().Bool("watch", false, "go on, once a second, until a signal")
	until := cmd.Flags().String("until", "", "`phase` to wait for: promoted, paused or rolled_back, or several with commas")
	timeout := cmd.Flags().Duration("timeout", 30*time.Minute, "`duration` to wait at most with --until; 0s is for ever")
	_ = cmd.RegisterFlagCompletionFunc("until", cobra.FixedCompletions([]string{"promoted", "paused", "rolled_back"}, cobra.ShellCompDirectiveNoFileComp))
	lb := a.apiFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *all {
			if len(args) > 0 {
				return fail(exitUsage, errors.New("--all stands in the place of a service"), "usage: "+cmd.UseLine())
			}
			args = []string{"*"}
		}
		if *until != "" {
			w, err := a.waitFor(*until, args, *timeout)
			if err != nil {
				return err
			}
			lb := lb()
			w.ask = func(ctx context.Context) (admin.CanaryStatus, error) { return lb.canary(ctx, w.service) }
			return w.run(cmd.Context())
		}
		show := func() error { return a.canaryStatus(cmd.Context(), lb(), args, *asJSON) }
		for *watch {
			if f, ok := a.out.(*os.File); ok && terminal(f) && !*asJSON {
				fmt.Fprint(a.out, "\x1b[H\x1b[2J") // home, clear
			}
			if err := show(); err != nil {
				return err
			}
			select {
			case <-time.After(time.Second):
			case <-cmd.Context().Done():
				return nil
			}
		}
		return show()
	}
	return cmd
}

// terminal tells whether f is a terminal; /dev/null, which services have for
// their standard input, is none.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

func (a *app) canaryStatus(ctx context.Context, lb *adminAPI, args []string, asJSON bool) error {
	path := "/api/v1/canary"
	if len(args) == 1 {
		path = canaryPath(args[0]) + "/status"
	}
	var raw json.RawMessage
	if err := lb.get(ctx, path, &raw); err != nil {
		if e, ok := errors.AsType[*exitError](err); ok && e.code == exitNotFound && len(args) == 1 {
			a.noteUnknown(ctx, lb, canary.Unlabel(args[0]))
		}
		return err
	}
	if asJSON {
		return a.json(raw)
	}
	var all admin.Canaries
	var err error
	if len(args) == 1 {
		all.Services = make([]admin.CanaryStatus, 1)
		err = json.Unmarshal(raw, &all.Services[0])
	} else {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return err
	}
	var routes []admin.Route
	if err := lb.get(ctx, "/api/v1/routes", &routes); err != nil {
		return err
	}
	if all.Error != "" {
		fmt.Fprintf(a.out, "! Consul is lost: %s\n", all.Error)
	}
	if len(all.Services) == 0 {
		fmt.Fprintln(a.err, "no canary documents: lb canary set SERVICE 10% writes one")
	}
	named := func(p admin.Part) bool { return p.Service == args[0] }
	if len(args) == 1 && !slices.ContainsFunc(routes, func(r admin.Route) bool { return slices.ContainsFunc(r.Parts, named) }) {
		a.noteUnknown(ctx, lb, canary.Unlabel(args[0]))
	}
	for _, st := range all.Services {
		printStatus(a.out, st, routes)
	}
	return nil
}

// printRollout writes how far a rollout is, what it rests on and who is behind.
func printRollout(w io.Writer, st admin.CanaryStatus) {
	r := st.Rollout
	if r == nil {
		return
	}
	doc, err := canary.Parse("", st.Document)
	was := err == nil && doc.Plan("", "", 0, "") == nil // the state of a document before, of which nothing counts
	if s := r.State; s.Phase != "" && s.Phase != rollout.Idle && !was {
		fmt.Fprintf(w, "  rollout %s%s\n", cmp.Or(s.ID, "(no id)"), phasePhrase(st))
		if r.Held != "" {
			fmt.Fprintf(w, "  ! no step is taken: %s\n", r.Held)
		}
		if r.Waits != "" {
			fmt.Fprintf(w, "  waits for: %s\n", r.Waits)
		}
		for _, f := range []struct {
			who, because string
			verdict      any
		}{{"evidence", s.Finding.Because, s.Finding.Verdict}, {"evidence here", r.Local.Because, r.Local.Verdict}} {
			if f.because != "" {
				fmt.Fprintf(w, "  %s: %v: %s\n", f.who, f.verdict, f.because)
			}
		}
		if r.Leader != "" {
			fmt.Fprintf(w, "  led by %s\n", r.Leader)
		}
	}
	if len(r.Nodes) == 0 {
		return
	}
	behind := 0
	for _, n := range r.Nodes {
		if n.Behind {
			behind++
		}
	}
	fmt.Fprintf(w, "  applied by %d/%d balancers\n", len(r.Nodes)-behind, len(r.Nodes))
	for _, n := range r.Nodes {
		if n.Behind {
			fmt.Fprintf(w, "  ! %s is behind: index %d, %s\n", nodeName(n), n.Index, percent(n.Ratio))
		}
	}
}

// phasePhrase is the phase and step of a rollout in one phrase.
func phasePhrase(st admin.CanaryStatus) string {
	s := st.Rollout.State
	text := " " + string(s.Phase)
	if doc, err := canary.Parse("", st.Document); err == nil && len(doc.Steps) > 0 && (s.Phase == rollout.Running || s.Phase == rollout.Paused) {
		text += fmt.Sprintf(", step %d of %d", s.Step+1, len(doc.Steps))
	}
	if !s.Since.IsZero() {
		text += ", since " + s.Since.Format(time.RFC3339)
	}
	if s.Because != "" {
		text += ": " + s.Because
	}
	return text
}

// printStatus writes one document's state and the arms of its service.
func printStatus(w io.Writer, st admin.CanaryStatus, routes []admin.Route) {
	fmt.Fprintf(w, "%s  %s\n", cmp.Or(st.Service, "(all others)"), inForce(st.ServiceStatus))
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "  ! %s\n", warning)
	}
	if st.Error != nil {
		fmt.Fprintf(w, "  ! document at index %d is refused, still using %d\n    %s\n", st.Index, st.LastGood, st.Error)
	}
	if st.SourceError != "" {
		state := st.State + ": its source"
		if st.State == canary.StateOK { // what is in force came from elsewhere
			state = "its config_server"
		}
		fmt.Fprintf(w, "  ! %s is lost: %s\n", state, st.SourceError)
	}
	if st.Waits != nil {
		fmt.Fprintf(w, "  ! document at index %d waits until %s (update_rate)\n", st.Index, st.Waits.Format(time.TimeOnly))
	}
	fmt.Fprintf(w, "  document %s @ index %d", st.Source, st.LastGood)
	if st.AppliedAt != nil {
		fmt.Fprintf(w, ", applied %s", st.AppliedAt.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
	printRollout(w, st)
	type count struct{ ready, all int }
	arms := map[string]map[string]count{} // by arm, by address: an instance of several routes counts once
	for _, r := range routes {
		for _, p := range r.Parts {
			if p.Service != st.Service {
				continue
			}
			for _, t := range p.Targets {
				if arms[t.Arm] == nil {
					arms[t.Arm] = map[string]count{}
				}
				c := count{all: 1}
				if t.Ready {
					c.ready = 1
				}
				arms[t.Arm][t.Addr] = c
			}
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, arm := range []string{"stable", "canary", "backup"} {
		var sum count
		for _, c := range arms[arm] {
			sum.ready += c.ready
			sum.all += c.all
		}
		if sum.all > 0 || arm != "backup" && st.Service != "" {
			fmt.Fprintf(tw, "  %s\t%d/%d ready\n", arm, sum.ready, sum.all)
		}
	}
	tw.Flush()
}
