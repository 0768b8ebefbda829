package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"serin/canary"
	"serin/canary/rollout"
)

// steerCommand is a command that takes a service and makes one edit.
func (a *app) steerCommand(cmd *cobra.Command, edit func() (canary.Edit, error)) *cobra.Command {
	cmd.ValidArgsFunction = a.completeService
	cmd.Flags().SortFlags = false
	service := serviceFlag(cmd)
	h := a.handFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyService(cmd, service, args)
		if err != nil {
			return err
		}
		e, err := edit()
		if err != nil {
			return err
		}
		return h.do(cmd.Context(), name, e)
	}
	return cmd
}

func (a *app) canaryRampCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ramp SERVICE|--all",
		Short: "Let the share grow, or fall, in a straight line",
		Long: "Write a ramp in the place of ratio and steps: --over a time from when it is first\napplied, or from --start to --end. It begins at --from, which without the flag is\n" +
			"the ratio in the document, so that nobody leaves the canary.",
		Example: "  lb canary ramp web --to 100% --over 2h\n  lb canary ramp web --from 1% --to 50% --start 2026-11-23T08:00:00Z --end 2026-11-23T18:00:00Z",
	}
	from := cmd.Flags().String("from", "", "`share` at the beginning; without it the ratio in the document, or 0")
	to := cmd.Flags().String("to", "100%", "`share` at the end")
	over := cmd.Flags().String("over", "", "`duration` of the ramp, such as 2h")
	start := cmd.Flags().String("start", "", "`time` at which it begins (RFC 3339)")
	end := cmd.Flags().String("end", "", "`time` at which it ends")
	cmd.SetFlagErrorFunc(shareFlagError)
	return a.steerCommand(cmd, func() (canary.Edit, error) {
		r := canary.NewRamp{Over: *over, Start: *start, End: *end}
		for _, f := range []struct {
			name, text string
			share      **float64
		}{{"from", *from, &r.From}, {"to", *to, &r.To}} {
			if f.text == "" {
				continue
			}
			v, err := canary.ParseShare(f.text)
			if err != nil {
				return canary.Edit{}, fail(exitUsage, fmt.Errorf("--%s: %w", f.name, err), "")
			}
			*f.share = &v
		}
		if (*over == "") == (*start == "" && *end == "") || (*start == "") != (*end == "") {
			return canary.Edit{}, fail(exitUsage, errors.New("a ramp lasts --over a time, or goes from --start to --end"), "lb canary ramp web --to 100% --over 2h")
		}
		return canary.RampTo(r), nil
	})
}

func (a *app) canaryPauseCommand() *cobra.Command {
	return a.controlCommand("pause", rollout.Pause, "Hold the rollout where it is",
		"Write control: pause: the share stays as it is, and no step is taken, until resume.", "  lb canary pause web --reason 'the shop team looks into it'")
}

func (a *app) canaryPromoteCommand() *cobra.Command {
	return a.controlCommand("promote", rollout.Promote, "Send everyone to the canary",
		"Write control: promote: everyone goes to the canary, whatever steps are left, and\nstays there. It asks before; where nobody can be asked it wants --yes.", "  lb canary promote web --yes")
}

func (a *app) canaryAbortCommand() *cobra.Command {
	return a.controlCommand("abort", rollout.Abort, "Send everyone back to stable",
		"Write control: abort: everyone goes back to stable, at once and on every balancer,\nand stays there until retry, or another id. A document that is refused, or that\nnames a config_server, is replaced by an abort of the one in force. On a terminal\nit asks before, and Enter means yes; in a script it never asks.", "  lb canary abort web --reason 'SHOP-1234: 5xx in the cart'")
}

// controlCommand is a command that writes control.
func (a *app) controlCommand(name string, c rollout.Control, short, long, example string) *cobra.Command {
	cmd := &cobra.Command{Use: name + " SERVICE|--all", Short: short, Long: long, Example: example}
	reason := cmd.Flags().String("reason", "", "`text` for the people who read the document (x-reason)")
	return a.steerCommand(cmd, func() (canary.Edit, error) { return canary.Steer(c, *reason), nil })
}

func (a *app) canaryResumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "resume SERVICE|--all",
		Short:   "Let a paused rollout go on",
		Long:    "Write control: run, and the time as x-resumed, so that a rollout goes on that was\npaused by hand, by a step, or by its analysis.",
		Example: "  lb canary resume web",
	}
	return a.steerCommand(cmd, func() (canary.Edit, error) { return canary.Resume(time.Now()), nil })
}

func (a *app) canaryRetryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "retry SERVICE|--all",
		Short:   "Begin the rollout anew",
		Long:    "Write another id, and take control out: the rollout begins at the beginning, with\nnew evidence, and clients are drawn anew.",
		Example: "  lb canary retry web\n  lb canary retry web --id web-2.4.1",
	}
	id := cmd.Flags().String("id", "", "`name` of the new rollout; without it one is made from the last")
	return a.steerCommand(cmd, func() (canary.Edit, error) { return canary.Retry(*id, time.Now()), nil })
}

func (a *app) canaryDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete SERVICE|--all",
		Short:   "Delete the document of a service",
		Long:    "Delete the key: the document for all services takes its place, or everyone goes to\nstable. It does not wait for the balancers.",
		Example: "  lb canary delete web --dry-run",
	}
	return a.steerCommand(cmd, func() (canary.Edit, error) { return canary.Remove(), nil })
}
