package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"serin/admin"
	"serin/canary"
	"serin/canary/rollout"
	"serin/registry/consul"
)

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
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token", "canary.prefix")
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
			keys = []string{canary.KeyOf(cfg.Canary.Prefix, args[0]), cfg.Canary.Prefix}
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

// documentsAt reads all documents at a prefix: the common one first.
func documentsAt(ctx context.Context, client *consul.Client, prefix string) ([]consul.Pair, error) {
	pairs, err := client.List(ctx, prefix)
	if err != nil {
		return nil, consulError(err)
	}
	var out []consul.Pair
	for _, p := range pairs {
		if service, below := strings.CutPrefix(p.Key, prefix+"/"); !below || service != "" && !strings.Contains(service, "/") {
			out = append(out, p)
		}
	}
	return out, nil
}

func (a *app) canaryListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the documents in Consul",
		Example: "  lb canary list\n  lb canary list --json",
		Args:    noArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	connect := a.documents(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, prefix, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		pairs, err := documentsAt(cmd.Context(), client, prefix)
		if err != nil {
			return err
		}
		type row struct {
			Service string `json:"service"` // "*" is all without one of their own
			Key     string `json:"key"`
			Index   uint64 `json:"index"`
			Share   string `json:"share,omitempty"`
			ID      string `json:"id,omitempty"`
			Control string `json:"control,omitempty"`
			Error   string `json:"error,omitempty"` // why it is refused
		}
		rows := []row{}
		for _, p := range pairs {
			r := row{Service: canary.Label(""), Key: p.Key, Index: p.Index}
			if service, below := strings.CutPrefix(p.Key, prefix+"/"); below {
				r.Service = service
			}
			if doc, err := canary.Parse(p.Key, p.Value); err != nil {
				r.Error = err.Error()
			} else {
				r.Share, r.ID, r.Control = sharePhrase(doc), doc.ID, doc.Control
			}
			rows = append(rows, r)
		}
		if *asJSON {
			return a.json(rows)
		}
		if len(rows) == 0 {
			fmt.Fprintln(a.err, "no canary documents: lb canary set SERVICE 10% writes one")
			return nil
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SERVICE\tINDEX\tSHARE\tID\tCONTROL")
		for _, r := range rows {
			if r.Error != "" {
				r.Share = "refused"
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", r.Service, r.Index, r.Share, safe(r.ID), r.Control)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, r := range rows {
			if r.Error != "" {
				fmt.Fprintf(a.err, "! %s\n", r.Error)
			}
		}
		return nil
	}
	return cmd
}

// sharePhrase is how a document moves the share, in one phrase.
func sharePhrase(doc *canary.Document) string {
	switch {
	case doc.ConfigServer != "":
		return "from " + doc.ConfigServer
	case doc.Steps != nil:
		return fmt.Sprintf("%d steps", len(doc.Steps))
	case doc.Ramp != nil:
		from, to := 0.0, 1.0
		if doc.Ramp.From != nil {
			from = *doc.Ramp.From
		}
		if doc.Ramp.To != nil {
			to = *doc.Ramp.To
		}
		return fmt.Sprintf("ramp %s to %s", percent(from), percent(to))
	case doc.Ratio != nil:
		return percent(*doc.Ratio)
	}
	return percent(0)
}

func (a *app) canaryHistoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "history SERVICE|--all",
		Short:             "Show the last changes of a rollout, the newest last",
		Long:              "Show what the balancers have written down in Consul: the last hundred changes, with\ntheir causes. It needs no balancer.",
		Example:           "  lb canary history web\n  lb canary history web --json",
		ValidArgsFunction: a.completeService,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	service := serviceFlag(cmd)
	connect := a.documents(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyService(cmd, service, args)
		if err != nil {
			return err
		}
		client, _, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		key := rollout.RingKeys + "/" + canary.Label(name)
		pair, found, err := client.Get(cmd.Context(), key)
		if err != nil {
			return consulError(err)
		}
		if !found {
			return fail(exitNotFound, fmt.Errorf("no key %s in Consul at %s: nothing has happened", key, client.Addr()), "a service that follows the common document has its history there: lb canary history --all")
		}
		events, err := rollout.ParseRing(pair.Value)
		if err != nil {
			return fail(exitFailed, fmt.Errorf("what is at %s is no history: %w", key, err), "is the balancer of this version?")
		}
		if *asJSON {
			return a.json(events)
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "TIME\tWHAT\tSHARE\tINDEX\tBY\tBECAUSE")
		for _, e := range events {
			fmt.Fprintf(w, "%s\t%s\t%s to %s\t%d\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Kind, percent(e.From), percent(e.To), e.Index, e.By, safe(e.Because))
		}
		return w.Flush()
	}
	return cmd
}

func (a *app) canaryExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain SERVICE|--all",
		Short: "Tell which arm a client gets, and why",
		Long: "Ask the balancer which arm a client gets: by which rule, or by which key, where that\nstands (u), and the threshold below which the canary is. The guards, which look at\n" +
			"the health of instances, are not asked: lb explain URL does.",
		Example:           "  lb canary explain web --cookie uid=7\n  lb canary explain web --header 'X-User: ann' --ip 10.1.2.3",
		ValidArgsFunction: a.completeService,
	}
	cmd.Flags().SortFlags = false
	cookies := cmd.Flags().StringArray("cookie", nil, "`NAME=VALUE` that the client sends (repeatable)")
	headers := cmd.Flags().StringArrayP("header", "H", nil, "`'Name: value'` that the client sends (repeatable, -H for short)")
	ip := cmd.Flags().String("ip", "", "`IP` address of the client")
	key := cmd.Flags().String("key", "", "`value` of a key alone, in the place of the above")
	kind := cmd.Flags().String("kind", "", "`word` for what --key is: cookie, header or ip; without it the first that sticky names")
	path := cmd.Flags().String("path", "", "`PATH` of the request; / without it")
	method := cmd.Flags().String("method", "", "`METHOD` of the request; GET without it")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	service := serviceFlag(cmd)
	lb := a.apiFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyService(cmd, service, args)
		if err != nil {
			return err
		}
		q := url.Values{"cookie": *cookies, "header": *headers}
		for field, value := range map[string]string{"ip": *ip, "key": *key, "kind": *kind, "path": *path, "method": *method} {
			if value != "" {
				q.Set(field, value)
			}
		}
		var e admin.CanaryExplanation
		if err := lb().get(cmd.Context(), canaryPath(name)+"/explain?"+q.Encode(), &e); err != nil {
			return err
		}
		if *asJSON {
			return a.json(e)
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		arm := e.Arm
		if arm == "" {
			arm = "either"
		}
		fmt.Fprintf(w, "arm\t%s (%s)\n", arm, e.Why)
		if e.Environment != "" {
			fmt.Fprintf(w, "environment\t%s\n", safe(e.Environment))
		}
		if e.Key != "" {
			fmt.Fprintf(w, "key\t%s\n", safe(e.Key))
			fmt.Fprintf(w, "u\t%s (%.6f)\n", e.U, e.Fraction)
		}
		fmt.Fprintf(w, "threshold\t%.6f\n", e.Threshold)
		fmt.Fprintf(w, "because\t%s\n", safe(e.Because))
		return w.Flush()
	}
	return cmd
}
