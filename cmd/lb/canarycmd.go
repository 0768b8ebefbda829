package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"serin/admin"
	"serin/canary"
	"serin/registry/consul"
)

func (a *app) canaryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "canary COMMAND",
		GroupID: "canary",
		Short:   "Steer and watch canaries",
		Long: "A canary is steered by a JSON document in Consul's KV store: lb/canary/<service>\nfor one service, lb/canary for all that have none of their own. set writes it, as\n" +
			"consul kv put does; status asks a running balancer what is in force.",
		Example: "  lb canary set web 10%\n  lb canary set web 50% --sticky\n  lb canary status --watch",
		Args:    a.noCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.canarySetCommand(), a.canaryShowCommand(), a.canaryStatusCommand())
	return cmd
}

// editFlags are the flags of lb canary set that set a field of the document.
var editFlags = []struct {
	flag, field, doc string
	value            func(text string) any
	values           []string // that complete; nil for any
}{
	{"sticky", "sticky", "same client, same arm; =`spec` is true (as --sticky alone), false, cookie:NAME, header:NAME or ip", boolOrText, []string{"true", "false", "cookie:", "header:", "ip"}},
	{"method", "method", "`way` a request is assigned: random, round_robin or hash", asText, []string{"random", "round_robin", "hash"}},
	{"balance", "balance", "`way` an instance is chosen inside an arm: p2c, least_conn, round_robin or random", asText, []string{"p2c", "least_conn", "round_robin", "random"}},
	{"tag", "canary", "Consul `tag` of the canary instances (without it: canary)", asText, nil},
	{"min-healthy", "limits.min_healthy", "`number` of healthy canaries below which everyone goes to stable", numberOrText, nil},
	{"on-stale", "on_stale", "`word` for when Consul is lost: stable or hold", asText, []string{"stable", "hold"}},
	{"comment", "comment", "`text` for the people who read the document", asText, nil},
}

func asText(text string) any { return text }

func boolOrText(text string) any {
	if b, err := strconv.ParseBool(text); err == nil {
		return b
	}
	return text
}

// numberOrText leaves to the document's own check to say what is no number.
func numberOrText(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return text
}

func (a *app) canarySetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set SERVICE|--all SHARE",
		Short: "Set the canary's share of a service's traffic",
		Long: "Read the service's document from Consul, set its ratio and what the flags say,\nkeep everything else, write it back unless someone else changed it meanwhile, and\n" +
			"wait until the balancer applied it. SHARE is 10% or 0.1. A flag with an empty\nvalue removes its field. A service without a document starts from that for all.",
		Example:           "  lb canary set web 10%\n  lb canary set web 50% --sticky=cookie:uid\n  lb canary set --all 0",
		ValidArgsFunction: a.completeService,
	}
	cmd.Flags().SortFlags = false
	all := cmd.Flags().Bool("all", false, "the document of all services without their own, instead of SERVICE")
	for _, e := range editFlags {
		cmd.Flags().String(e.flag, "", e.doc)
		_ = cmd.RegisterFlagCompletionFunc(e.flag, cobra.FixedCompletions(e.values, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if e, ok := errors.AsType[*pflag.NotExistError](err); ok && strings.ContainsAny(e.GetSpecifiedName()[:1], ".0123456789") {
			_, err := canary.ParseShare("-" + e.GetSpecifiedShortnames())
			return fail(exitUsage, err, "a share is from 0% to 100%; it replaces the one before, and is not added to it")
		}
		return flagError(cmd, err)
	})
	cmd.Flags().Lookup("sticky").NoOptDefVal = "true"
	dry := cmd.Flags().BoolP("dry-run", "n", false, "only show what would change")
	wait := cmd.Flags().Duration("wait", 5*time.Second, "`duration` to wait at most until the balancer applied it; 0s does not wait")
	lb := a.apiFlag(cmd)
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token", "canary.")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		service := ""
		if !*all && len(args) > 0 {
			service, args = args[0], args[1:]
		}
		if len(args) != 1 || !*all && service == "" {
			return fail(exitUsage, errors.New("want a service and a share"), "lb canary set web 10%, or lb canary set --all 10%; a value of --sticky follows a =")
		}
		if strings.Contains(service, "/") {
			return fail(exitUsage, fmt.Errorf("%q is no service: Consul allows no slash in a service's name, and documents below another are not read", service), "")
		}
		share, err := canary.ParseShare(args[0])
		if err != nil {
			return fail(exitUsage, err, "")
		}
		changes := []canary.Change{{Field: "ratio", Value: share}}
		for _, e := range editFlags {
			f := cmd.Flags().Lookup(e.flag)
			switch {
			case f.Changed && f.Value.String() == "":
				changes = append(changes, canary.Change{Field: e.field})
			case f.Changed:
				changes = append(changes, canary.Change{Field: e.field, Value: e.value(f.Value.String())})
			}
		}
		cfg, err := load()
		if err != nil {
			return err
		}
		client, err := cfg.Registry.Consul.client(hclog.NewNullLogger())
		if err != nil {
			return err
		}
		defer client.Close()
		doc, err := a.edit(cmd.Context(), client, cfg.Canary.Prefix, service, changes)
		switch {
		case err != nil:
			return err
		case *dry:
			a.noteUnknown(cmd.Context(), lb(), service)
			return nil
		case doc.changed:
			if err := a.write(cmd.Context(), client, &doc, service); err != nil {
				return err
			}
		}
		if *wait <= 0 {
			return nil
		}
		a.noteUnknown(cmd.Context(), lb(), service)
		return a.applied(cmd.Context(), lb(), service, doc.key, doc.index, *wait)
	}
	return cmd
}

// write writes a document unless it was changed since it was read, and takes in
// its new index.
func (a *app) write(ctx context.Context, client *consul.Client, doc *edited, service string) error {
	ok, err := client.CAS(ctx, doc.key, doc.after, doc.index)
	if err != nil {
		return consulError(err)
	}
	if !ok {
		return fail(exitConflict, fmt.Errorf("%s was changed by someone else meanwhile; nothing was written", doc.key), "look at "+command("lb canary show", service)+" and try again")
	}
	pair, _, err := client.Get(ctx, doc.key)
	if err != nil {
		return consulError(err)
	}
	doc.index = pair.Index
	fmt.Fprintf(a.out, "written as index %d\n", doc.index)
	return nil
}

// command is a command line about a service, or all for "".
func command(name, service string) string { return strings.TrimSpace(name + " " + service) }

// noteUnknown says so when the balancer answers and does not know the service:
// its document may come first, or its name be misspelt.
func (a *app) noteUnknown(ctx context.Context, lb *adminAPI, service string) {
	if service == "" {
		return
	}
	names, err := lb.services(ctx)
	if err == nil && !slices.Contains(names, service) {
		fmt.Fprintf(a.err, "note: the balancer at %s knows no service %q%s; the document counts when there is one\n", lb.addr, service, didYouMean(service, names))
	}
}

// edited is a document before and after a change.
type edited struct {
	key     string
	after   []byte
	changed bool   // after is not what there was
	index   uint64 // of the document in Consul; 0 when there is none
}

// edit reads the service's document, makes the changes and shows what differs.
func (a *app) edit(ctx context.Context, client *consul.Client, prefix, service string, changes []canary.Change) (edited, error) {
	e := edited{key: documentKey(prefix, service)}
	pair, found, err := client.Get(ctx, e.key)
	if err != nil {
		return e, consulError(err)
	}
	before := pair.Value
	if found {
		e.index = pair.Index
	} else if service != "" {
		common, ok, err := client.Get(ctx, prefix)
		if err != nil {
			return e, consulError(err)
		}
		if ok {
			before = common.Value
			fmt.Fprintf(a.err, "note: %s had no document of its own; it starts as a copy of %s\n", service, prefix)
		}
	}
	if e.after, err = canary.Set(e.key, before, changes...); err != nil {
		if wrong, ok := errors.AsType[*canary.Error](err); ok {
			for _, f := range editFlags {
				if slices.ContainsFunc(changes, func(c canary.Change) bool { return c.Field == f.field && c.Value != nil && c.Field == wrong.Path }) {
					return e, fail(exitUsage, fmt.Errorf("--%s: %s", f.flag, wrong.Sentence()), "")
				}
			}
		}
		hint := ""
		if len(before) > 0 {
			hint = "if that is in the document as it is in Consul, write a whole new one: consul kv put " + shellQuote(e.key) + " '{…}'"
		}
		return e, fail(exitUsage, err, hint)
	}
	if !found {
		before = nil
	}
	if e.changed = !bytes.Equal(before, e.after); !e.changed {
		fmt.Fprintf(a.out, "%s is so already, since index %d\n", e.key, e.index)
		return e, nil
	}
	fmt.Fprintf(a.out, "%s\n%s", e.key, canary.Diff(before, e.after))
	fmt.Fprintf(a.out, "same as: consul kv put -cas -modify-index=%d %s %s\n", e.index, shellQuote(e.key), shellQuote(string(e.after)))
	return e, nil
}

func documentKey(prefix, service string) string {
	if service == "" {
		return prefix
	}
	return prefix + "/" + service
}

// shellWord matches what a POSIX shell takes as it is.
var shellWord = regexp.MustCompile(`^[A-Za-z0-9_%+:,./@-]+$`)

// shellQuote makes text one word of a POSIX shell.
func shellQuote(text string) string {
	if shellWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// applied waits until the balancer has the document at index in force, for a
// service or for all others (""), and says what came of it.
func (a *app) applied(ctx context.Context, lb *adminAPI, service, key string, index uint64, wait time.Duration) error {
	start := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := lb.canary(ctx, service)
		switch e, _ := errors.AsType[*exitError](err); {
		case e != nil && e.code == exitUnreachable:
			fmt.Fprintf(a.err, "note: no balancer answers at %s to say whether it applied this\n", lb.addr)
			return nil
		case err != nil && e.code != exitNotFound:
			return err
		case err != nil: // it has not seen the key yet
		case st.Error != nil && st.Index >= index:
			return fail(exitUsage, fmt.Errorf("the balancer at %s refuses it: %w", lb.addr, st.Error), "it goes on with index "+fmt.Sprint(st.LastGood))
		case st.Key == key && st.Source != key:
			fmt.Fprintf(a.err, "note: the document in force is read from %s (config_server)\n", st.Source)
			return nil
		case st.Source == key && st.LastGood >= index && st.InTable:
			fmt.Fprintf(a.out, "applied by the balancer at %s after %d ms: %s\n", lb.addr, time.Since(start).Milliseconds(), inForce(st.ServiceStatus))
			for _, w := range st.Warnings {
				fmt.Fprintln(a.err, "warning:", w)
			}
			return nil
		case st.Waits != nil && st.Index >= index:
			fmt.Fprintf(a.err, "note: update_rate holds it back until %s\n", st.Waits.Format(time.TimeOnly))
			return nil
		}
		if time.Since(start) >= wait {
			return fail(exitTimeout, fmt.Errorf("the balancer at %s did not apply index %d within %s", lb.addr, index, wait), command("lb canary status", service))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inForce is a document's effect in one phrase.
func inForce(st canary.ServiceStatus) string {
	text := "canary " + percent(st.Effective)
	if st.Because != "" {
		text += fmt.Sprintf(" (wanted %s; %s)", percent(st.Wanted), st.Because)
	}
	return text
}

func (a *app) canaryShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show [SERVICE]",
		Short:             "Print the canary document of a service from Consul",
		Args:              usage(cobra.MaximumNArgs(1)),
		Long:              "Print the service's document as Consul has it, or that for all services where it\nhas none or no service is named.",
		Example:           "  lb canary show web\n  lb canary show web --json",
		ValidArgsFunction: a.completeService,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON: key, index and document")
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token", "canary.")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		client, err := cfg.Registry.Consul.client(hclog.NewNullLogger())
		if err != nil {
			return err
		}
		defer client.Close()
		keys := []string{cfg.Canary.Prefix}
		if len(args) == 1 {
			keys = []string{documentKey(cfg.Canary.Prefix, args[0]), cfg.Canary.Prefix}
		}
		for _, key := range keys {
			pair, found, err := client.Get(cmd.Context(), key)
			switch {
			case err != nil:
				return consulError(err)
			case !found:
				continue
			case *asJSON:
				out := struct {
					Key      string          `json:"key"`
					Index    uint64          `json:"index"`
					Document json.RawMessage `json:"document,omitempty"`
					Invalid  string          `json:"invalid,omitempty"` // text that is no JSON
				}{Key: key, Index: pair.Index}
				if json.Valid(pair.Value) {
					out.Document = pair.Value
				} else {
					out.Invalid = string(pair.Value)
				}
				return a.json(out)
			}
			fmt.Fprintf(a.err, "%s @ index %d\n", key, pair.Index)
			fmt.Fprintln(a.out, strings.TrimSpace(string(pair.Value)))
			return nil
		}
		return fail(exitNotFound, fmt.Errorf("no key %s in Consul at %s", strings.Join(keys, " and no key "), client.Addr()), "lb canary set SERVICE 10% writes one")
	}
	return cmd
}

func (a *app) canaryStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "status [SERVICE]",
		Short:             "Show what a running balancer makes of the documents",
		Args:              usage(cobra.MaximumNArgs(1)),
		Example:           "  lb canary status\n  lb canary status web --watch",
		ValidArgsFunction: a.completeService,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON, as /api/v1/canary answers")
	watch := cmd.Flags().Bool("watch", false, "go on, once a second, until a signal")
	lb := a.apiFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
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

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (a *app) canaryStatus(ctx context.Context, lb *adminAPI, args []string, asJSON bool) error {
	path := "/api/v1/canary"
	if len(args) == 1 {
		path = canaryPath(args[0]) + "/status"
	}
	var raw json.RawMessage
	if err := lb.get(ctx, path, &raw); err != nil {
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
	for _, st := range all.Services {
		printStatus(a.out, st, routes)
	}
	return nil
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
		fmt.Fprintf(w, "  ! %s: its source is lost: %s\n", st.State, st.SourceError)
	}
	if st.Waits != nil {
		fmt.Fprintf(w, "  ! document at index %d waits until %s (update_rate)\n", st.Index, st.Waits.Format(time.TimeOnly))
	}
	fmt.Fprintf(w, "  document %s @ index %d", st.Source, st.LastGood)
	if st.AppliedAt != nil {
		fmt.Fprintf(w, ", applied %s", st.AppliedAt.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
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
