package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"serin/canary"
	"serin/registry/consul"
)

// hand is what the commands that write a document share.
type hand struct {
	*app
	lb      func() *adminAPI
	connect func() (*consul.Client, string, error)
	dry     *bool
	yes     *bool
	wait    *time.Duration
}

// handFlags adds their flags.
func (a *app) handFlags(cmd *cobra.Command) *hand {
	return &hand{
		app: a,
		dry: cmd.Flags().BoolP("dry-run", "n", false, "only show what would change"),
		yes: cmd.Flags().BoolP("yes", "y", false, "do not ask"),
		wait: cmd.Flags().Duration("wait", 5*time.Second,
			"`duration` to wait at most until every balancer has applied it; 0s does not wait"),
		lb:      a.apiFlag(cmd),
		connect: a.documents(cmd),
	}
}

// do makes an edit of a service's document, "" for that of all others.
func (h *hand) do(ctx context.Context, service string, e canary.Edit) error {
	return h.edit(ctx, service, e, nil)
}

// edit is do for a document that was read at an index, unless that is nil.
func (h *hand) edit(ctx context.Context, service string, e canary.Edit, read *uint64) error {
	client, prefix, err := h.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	editor := editorOf(client, prefix)
	editor.InForce = textInForce(h.lb())
	d, err := editor.Prepare(ctx, service, e)
	for _, note := range d.Notes {
		fmt.Fprintln(h.err, "note:", note)
	}
	if err == nil && read != nil && *read != d.Index {
		err = &canary.ConflictError{Key: d.Key, Now: d.Index}
	}
	if err != nil {
		return editError(err, service, d)
	}
	if !d.Changed() {
		fmt.Fprintf(h.out, "%s is so already, since index %d\n", d.Key, d.Index)
	} else {
		fmt.Fprintf(h.out, "%s\n%ssame as: %s\n", d.Key, d.Diff, d.Command)
	}
	switch {
	case *h.dry:
		h.noteUnknown(ctx, h.lb(), service)
		return nil
	case d.Changed():
		if err := h.confirm(e, &d); err != nil {
			return err
		}
		if err := editor.Write(ctx, &d); err != nil {
			return editError(err, service, d)
		}
		if e.Removes() {
			fmt.Fprintln(h.out, "deleted")
			return nil
		}
		fmt.Fprintf(h.out, "written as index %d\n", d.Index)
	}
	if *h.wait <= 0 {
		return nil
	}
	h.noteUnknown(ctx, h.lb(), service)
	return h.applied(ctx, client, h.lb(), service, d.Key, d.After, d.Index, *h.wait)
}

// editError gives an error of an edit its exit code and a way out.
func editError(err error, service string, d canary.Edited) error {
	if refused, ok := errors.AsType[*canary.RefusedError](err); ok {
		return fail(exitUsage, err, refused.Hint)
	}
	if _, ok := errors.AsType[*canary.ConflictError](err); ok {
		return fail(exitConflict, err, "look at "+command("lb canary show", service)+" and try again")
	}
	if _, ok := errors.AsType[*canary.Error](err); ok {
		hint := ""
		if d.Before != "" {
			hint = "if that is in the document as it is in Consul, write a whole new one: " + command("lb canary apply", orAll(service)) + " -f FILE"
		}
		return fail(exitUsage, err, hint)
	}
	if errors.Is(err, canary.ErrNoDocument) {
		return fail(exitNotFound, err, "lb canary list shows those there are, "+command("lb canary set", orAll(service))+" 10% writes one")
	}
	return consulError(err)
}

// orAll is a service as a command line names it.
func orAll(service string) string {
	if service == "" {
		return "--all"
	}
	return service
}

// bigRise is what a share may grow by at once without a question.
const bigRise = 0.5

// question returns what a person is asked before an edit is written, "" for
// nothing, and whether Enter alone means yes.
func question(e canary.Edit, rise float64) (text string, enter bool) {
	switch {
	case e.String() == "abort":
		return "everyone goes back to stable", true
	case e.String() == "promote":
		return "everyone goes to the canary, for good", false
	case rise > bigRise+1e-9:
		return fmt.Sprintf("the canary's share grows by %.4g points at once", rise*100), false
	}
	return "", false
}

// confirm asks. Where nobody can be asked an abort goes ahead, because it must
// work at once from a script, and the others want --yes.
func (h *hand) confirm(e canary.Edit, d *canary.Edited) error {
	text, enter := question(e, d.Rise())
	switch {
	case text == "" || *h.yes || enter && !h.asks:
		return nil
	case !h.asks:
		return fail(exitUsage, errors.New(text+", and nobody can be asked; nothing was written"), "add --yes")
	}
	choice := "[y/N]"
	if enter {
		choice = "[Y/n]"
	}
	fmt.Fprintf(h.err, "%s: %s? %s ", d.Key, text, choice)
	line, _ := bufio.NewReader(h.in).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	if answer == "y" || answer == "yes" || answer == "" && enter { // nobody there says no to an abort
		return nil
	}
	return fail(exitFailed, errors.New("nothing was written"), "")
}

// noteUnknown says so when the balancer answers and does not know the service:
// its document may come first, or its name be misspelt.
func (a *app) noteUnknown(ctx context.Context, lb *adminAPI, service string) {
	if service == "" {
		return
	}
	names, err := lb.services(ctx)
	if err == nil && !slices.Contains(names, service) {
		fmt.Fprintf(a.err, "note: the balancer at %s knows no service %q%s; a document counts when there is one\n", lb.addr, service, didYouMean(service, names))
	}
}
