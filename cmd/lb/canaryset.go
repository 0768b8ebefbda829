package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"serin/canary"
)

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
			"wait until every balancer has applied it. SHARE is 10% or 0.1. A flag with an\nempty value removes its field. The ratio takes the place of ramp and steps. A\nservice without a document starts from that for all.",
		Example:           "  lb canary set web 10%\n  lb canary set web 50% --sticky=cookie:uid\n  lb canary set --all 0",
		ValidArgsFunction: a.completeService,
	}
	cmd.Flags().SortFlags = false
	service := serviceFlag(cmd)
	for _, e := range editFlags {
		cmd.Flags().String(e.flag, "", e.doc)
		_ = cmd.RegisterFlagCompletionFunc(e.flag, cobra.FixedCompletions(e.values, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.SetFlagErrorFunc(shareFlagError)
	cmd.Flags().Lookup("sticky").NoOptDefVal = "true"
	h := a.handFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, rest, err := service(args)
		if err != nil || len(rest) != 1 {
			return fail(exitUsage, errors.New("want a service and a share"), "lb canary set web 10%, or lb canary set --all 10%; a value of --sticky follows a =")
		}
		share, err := canary.ParseShare(rest[0])
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
		return flagOf(h.do(cmd.Context(), name, canary.SetFields(changes...)), changes)
	}
	return cmd
}

// shareFlagError takes what looks like a negative share for one.
func shareFlagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok && strings.ContainsAny(e.GetSpecifiedName()[:1], ".0123456789") {
		_, err := canary.ParseShare("-" + e.GetSpecifiedShortnames())
		return fail(exitUsage, err, "a share is from 0% to 100%; it replaces the one before, and is not added to it")
	}
	return flagError(cmd, err)
}

// flagOf names the flag that a refused field came from.
func flagOf(err error, changes []canary.Change) error {
	wrong, ok := errors.AsType[*canary.Error](err)
	if !ok {
		return err
	}
	for _, f := range editFlags {
		if slices.ContainsFunc(changes, func(c canary.Change) bool { return c.Field == f.field && c.Value != nil && c.Field == wrong.Path }) {
			return fail(exitUsage, errors.New("--"+f.flag+": "+wrong.Sentence()), "")
		}
	}
	return err
}
