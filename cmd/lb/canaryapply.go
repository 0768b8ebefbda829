package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"serin/canary"
)

// fileFlag adds -f.
func fileFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("file", "f", "", "`FILE` with a whole document, or - for standard input (-f for short)")
}

func (a *app) canaryApplyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "apply SERVICE|--all -f FILE",
		Short:             "Put a whole document from a file in the place of what there is",
		Example:           "  lb canary apply web -f canary.json\n  jq '.ratio = 0.2' canary.json | lb canary apply web -f -",
		ValidArgsFunction: a.completeService,
	}
	cmd.Flags().SortFlags = false
	file, service := fileFlag(cmd), serviceFlag(cmd)
	h := a.handFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, text, err := a.fileFor(cmd, service, args, *file)
		if err != nil {
			return err
		}
		return h.do(cmd.Context(), name, canary.Replace(text))
	}
	return cmd
}

// fileFor reads the service that the arguments name, and the file, which must
// hold a document.
func (a *app) fileFor(cmd *cobra.Command, service func([]string) (string, []string, error), args []string, file string) (name string, text []byte, err error) {
	name, err = onlyService(cmd, service, args)
	switch {
	case err != nil:
		return "", nil, err
	case file == "":
		return "", nil, fail(exitUsage, errors.New("want a file"), "usage: "+cmd.UseLine())
	}
	from, text, err := a.readArg(file)
	if err != nil {
		return "", nil, err
	}
	_, err = canary.Parse(from, text)
	return name, text, fail(exitUsage, err, "")
}

func (a *app) canaryDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "diff SERVICE|--all -f FILE",
		Short:             "Show what apply would change",
		Example:           "  lb canary diff web -f canary.json",
		ValidArgsFunction: a.completeService,
	}
	cmd.Flags().SortFlags = false
	file, service := fileFlag(cmd), serviceFlag(cmd)
	connect := a.documents(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, text, err := a.fileFor(cmd, service, args, *file)
		if err != nil {
			return err
		}
		client, prefix, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		d, err := editorOf(client, prefix).Prepare(cmd.Context(), name, canary.Replace(text))
		if err != nil {
			return editError(err, name, d)
		}
		if d.Diff == "" {
			fmt.Fprintf(a.err, "%s is so already, since index %d\n", d.Key, d.Index)
		}
		fmt.Fprint(a.out, d.Diff)
		return nil
	}
	return cmd
}

func (a *app) canaryEditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit SERVICE|--all",
		Short: "Change the document in an editor ($VISUAL, $EDITOR)",
		Long: "Open the document in an editor, and write it when that has ended. A document that\nis refused is opened again with the reason on top, in lines that begin with #; leave\n" +
			"it as it is to give up. A service without a document starts from that for all.",
		Example:           "  EDITOR=nano lb canary edit web",
		ValidArgsFunction: a.completeService,
	}
	cmd.Flags().SortFlags = false
	service := serviceFlag(cmd)
	h := a.handFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := onlyService(cmd, service, args)
		if err != nil {
			return err
		}
		return h.inEditor(cmd.Context(), name)
	}
	return cmd
}

// inEditor lets a person change a service's document.
func (h *hand) inEditor(ctx context.Context, service string) (err error) {
	key, text, index, err := h.toEdit(ctx, service)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "lb-canary-*.json")
	if err != nil {
		return err
	}
	f.Close()
	// What was written by hand is kept where it does not reach Consul.
	defer func() {
		if err == nil {
			os.Remove(f.Name())
			return
		}
		fmt.Fprintf(h.err, "your text is kept: %s -f %s\n", command("lb canary apply", orAll(service)), f.Name())
	}()
	before := text
	for {
		if err := os.WriteFile(f.Name(), text, 0o600); err != nil {
			return err
		}
		if err := h.editor(ctx, f.Name()); err != nil {
			return err
		}
		now, err := os.ReadFile(f.Name())
		if err != nil {
			return err
		}
		now = withoutRemarks(now)
		_, wrong := canary.Parse(key, now)
		switch {
		case bytes.Equal(now, before) && wrong == nil:
			fmt.Fprintf(h.out, "%s stays as it is\n", key)
			return nil
		case wrong == nil:
			return h.edit(ctx, service, canary.Replace(now), &index)
		case bytes.Equal(now, withoutRemarks(text)): // the second time round
			return fail(exitUsage, wrong, "nothing was written")
		}
		fmt.Fprintln(h.err, "error:", wrong)
		text = append([]byte("# "+wrong.Error()+"\n# Mend it, or leave it as it is to give up. Lines that begin with # are not part of it.\n"), now...)
	}
}

// toEdit reads the text that the editor begins with, and the document's index.
func (h *hand) toEdit(ctx context.Context, service string) (key string, text []byte, index uint64, err error) {
	client, prefix, err := h.connect()
	if err != nil {
		return "", nil, 0, err
	}
	defer client.Close()
	if key, err = editorOf(client, prefix).Key(service); err != nil {
		return "", nil, 0, editError(err, service, canary.Edited{})
	}
	for _, k := range []string{key, prefix} {
		pair, found, err := client.Get(ctx, k)
		switch {
		case err != nil:
			return "", nil, 0, consulError(err)
		case found && k != key:
			fmt.Fprintf(h.err, "note: %s had no document of its own; it starts as a copy of %s\n", service, prefix)
			return key, pair.Value, 0, nil
		case found:
			return key, pair.Value, pair.Index, nil
		}
	}
	return key, []byte("{\n  \"ratio\": 0\n}\n"), 0, nil
}

// withoutRemarks takes out the lines on top that begin with #.
func withoutRemarks(text []byte) []byte {
	for bytes.HasPrefix(text, []byte("#")) {
		_, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
	}
	return text
}

func (a *app) canaryValidateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "validate [FILE | - | consul:KEY]...",
		Short:   "Check documents; the exit code is 0 or 2",
		Long:    "Check documents in files, on standard input or in Consul by the code that the\nbalancer reads them with. Without arguments, check all documents in Consul.",
		Example: "  lb canary validate canary.json && lb canary apply web -f canary.json\n  lb canary validate",
	}
	connect := a.documents(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var errs []error
		check := func(name string, text []byte) {
			_, err := canary.Parse(name, text)
			if err == nil {
				fmt.Fprintf(a.out, "%s: ok\n", name)
			}
			errs = append(errs, err)
		}
		var keys []string
		for _, arg := range args {
			if key, ok := strings.CutPrefix(arg, "consul:"); ok {
				keys = append(keys, key)
				continue
			}
			name, text, err := a.readArg(arg)
			if err != nil {
				return err
			}
			check(name, text)
		}
		if len(args) == 0 || keys != nil {
			client, prefix, err := connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if keys == nil {
				found, err := documentsAt(cmd.Context(), client, prefix)
				if err != nil {
					return err
				}
				for _, p := range found {
					check(p.Key, p.Value)
				}
			}
			for _, key := range keys {
				pair, found, err := client.Get(cmd.Context(), key)
				if err != nil {
					return consulError(err)
				}
				if !found {
					return fail(exitNotFound, fmt.Errorf("no key %s in Consul at %s", key, client.Addr()), "lb canary list shows what there is")
				}
				check(key, pair.Value)
			}
		}
		return fail(exitUsage, together(errs), "docs/CANARY.md has the fields")
	}
	return cmd
}
