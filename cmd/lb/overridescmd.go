package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"serin/admin"
	"serin/canary"
	"serin/internal/shell"
	"serin/registry/consul"
	"serin/route"
)

func (a *app) overridesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "overrides COMMAND",
		GroupID: "tools",
		Short:   "Look at and change the route commands in Consul",
		Long: "Route commands (route add, route del, route weight) change what the tags of\nservices make. They are texts in Consul's KV store, below lb/routes; those of all\n" +
			"keys count, in the order of the keys. KEY is a whole key, or what follows lb/routes/.",
		Example: "  lb overrides set 10-web commands.txt\n  lb overrides list\n  lb overrides edit 10-web",
		Args:    a.noCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.overridesListCommand(), a.overridesGetCommand(), a.overridesSetCommand(),
		a.overridesEditCommand(), a.overridesDeleteCommand(), a.overridesValidateCommand())
	return cmd
}

// overridesKV adds the flags that lead to the route commands in Consul; the
// returned function connects, and must be followed by Close of the client.
func (a *app) overridesKV(cmd *cobra.Command) func() (*consul.Client, []string, error) {
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token", "registry.consul.kvpath")
	return func() (*consul.Client, []string, error) {
		cfg, err := load()
		if err != nil {
			return nil, nil, err
		}
		var paths []string
		for _, p := range cfg.Registry.Consul.KVPath {
			if p = strings.Trim(p, "/"); p != "" {
				paths = append(paths, p)
			}
		}
		if paths == nil {
			return nil, nil, fail(exitUsage, errors.New("registry.consul.kvpath is empty: no route commands are followed"), "--registry.consul.kvpath lb/routes")
		}
		client, err := cfg.Registry.Consul.client(hclog.NewNullLogger())
		return client, paths, err
	}
}

// overrideKey is the key that a person means: a whole one, or what follows the
// first path.
func overrideKey(paths []string, arg string) (string, error) {
	key := strings.TrimPrefix(arg, "/")
	if !slices.ContainsFunc(paths, func(p string) bool { return key == p || strings.HasPrefix(key, p+"/") }) {
		key = paths[0] + "/" + key
	}
	if key == "" || strings.Contains(key+"/", "//") {
		return "", fail(exitUsage, fmt.Errorf("%q is no key: a part of it is empty", arg), "such as 10-web, which is "+paths[0]+"/10-web")
	}
	return key, nil
}

func (a *app) overridesListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys, in the order in which they apply, and what is refused in them",
		Example: "  lb overrides list\n  lb overrides list --json",
		Args:    noArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON, as /api/v1/overrides answers")
	connect := a.overridesKV(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, paths, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		list := []admin.Override{}
		for _, path := range paths {
			found, err := client.List(cmd.Context(), path)
			if err != nil {
				return consulError(err)
			}
			for _, p := range found {
				if slices.ContainsFunc(list, func(v admin.Override) bool { return v.Key == p.Key }) {
					continue
				}
				_, problems := route.ParseCommands(p.Key, string(p.Value))
				list = append(list, admin.Override{Key: p.Key, Index: p.Index, Text: string(p.Value), Problems: append([]route.Problem{}, problems...)})
			}
		}
		if *asJSON {
			return a.json(list)
		}
		if len(list) == 0 {
			fmt.Fprintf(a.err, "no route commands at %s: lb overrides set NAME FILE writes some\n", strings.Join(paths, ", "))
			return nil
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KEY\tINDEX\tCOMMANDS\tREFUSED")
		for _, v := range list {
			commands, problems := route.ParseCommands(v.Key, v.Text)
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", v.Key, v.Index, len(commands), len(problems))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, v := range list {
			for _, p := range v.Problems {
				fmt.Fprintf(a.err, "! %s: %s\n", p.Where, p.Error)
			}
		}
		return nil
	}
	return cmd
}

func (a *app) overridesGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get KEY",
		Short:   "Print the route commands at a key",
		Example: "  lb overrides get 10-web > commands.txt",
		Args:    usage(cobra.ExactArgs(1)),
	}
	connect := a.overridesKV(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, paths, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		key, err := overrideKey(paths, args[0])
		if err != nil {
			return err
		}
		pair, found, err := client.Get(cmd.Context(), key)
		switch {
		case err != nil:
			return consulError(err)
		case !found:
			return noOverride(client, key)
		}
		fmt.Fprintf(a.err, "%s @ index %d\n", key, pair.Index)
		_, err = a.out.Write(pair.Value)
		return err
	}
	return cmd
}

func noOverride(client *consul.Client, key string) error {
	return fail(exitNotFound, fmt.Errorf("no key %s in Consul at %s", key, client.Addr()), "lb overrides list shows what there is")
}

// writing are the flags of what writes route commands.
type writing struct{ dry, force *bool }

func writeFlags(cmd *cobra.Command) writing {
	return writing{
		dry:   cmd.Flags().BoolP("dry-run", "n", false, "only show what would change"),
		force: cmd.Flags().Bool("force", false, "write lines that are refused too; those that are right count"),
	}
}

func (a *app) overridesSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "set KEY [FILE | -]",
		Short:   "Write route commands from a file or standard input to a key",
		Long:    "Read route commands, check them, and write them to the key unless someone else\nchanged it meanwhile. Nothing is written where a line is refused.",
		Example: "  lb overrides set 10-web commands.txt\n  echo 'route weight web shop.test/ weight 0.1 tags \"v2\"' | lb overrides set 20-weights",
		Args:    usage(cobra.RangeArgs(1, 2)),
	}
	w := writeFlags(cmd)
	connect := a.overridesKV(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, paths, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		key, err := overrideKey(paths, args[0])
		if err != nil {
			return err
		}
		_, text, err := a.readArg(append(args, "-")[1])
		if err != nil {
			return err
		}
		pair, _, err := client.Get(cmd.Context(), key)
		if err != nil {
			return consulError(err)
		}
		pair.Key = key
		return a.writeOverride(cmd.Context(), client, pair, text, w)
	}
	return cmd
}

// readArg reads a file, or standard input where its name is "-".
func (a *app) readArg(arg string) (name string, data []byte, err error) {
	if arg == "-" {
		data, err = io.ReadAll(a.in)
		return standardInput, data, err
	}
	data, err = os.ReadFile(arg)
	return arg, data, fail(exitUsage, err, "")
}

// refused is what is wrong with a text of route commands, each line a mistake.
func refused(name string, text []byte) error {
	_, problems := route.ParseCommands(name, string(text))
	var errs []error
	for _, p := range problems {
		errs = append(errs, errors.New(p.Where+": "+p.Error))
	}
	return together(errs)
}

// writeOverride shows what changes at a key, checks it and writes it, unless the
// key is no longer as it was.
func (a *app) writeOverride(ctx context.Context, client *consul.Client, was consul.Pair, text []byte, w writing) error {
	if was.Index != 0 && string(was.Value) == string(text) {
		fmt.Fprintf(a.out, "%s is so already, since index %d\n", was.Key, was.Index)
		return nil
	}
	fmt.Fprintf(a.out, "%s\n%s", was.Key, canary.Diff(was.Value, text))
	if err := refused(was.Key, text); err != nil {
		if !*w.force {
			return fail(exitUsage, err, "nothing was written; --force writes it nevertheless, and the lines that are right count")
		}
		for _, e := range flatten(err) {
			fmt.Fprintln(a.err, "warning:", e)
		}
	}
	fmt.Fprintf(a.out, "same as: consul kv put -cas -modify-index=%d %s %s\n", was.Index, shell.Quote(was.Key), shell.Quote(string(text)))
	if *w.dry {
		return nil
	}
	ok, err := client.CAS(ctx, was.Key, text, was.Index)
	switch {
	case err != nil:
		return consulError(err)
	case !ok:
		return changedMeanwhile(was.Key)
	}
	pair, _, err := client.Get(ctx, was.Key)
	if err != nil {
		return consulError(err)
	}
	fmt.Fprintf(a.out, "written as index %d\n", pair.Index)
	return nil
}

func changedMeanwhile(key string) error {
	return fail(exitConflict, fmt.Errorf("%s was changed by someone else meanwhile; nothing was written", key), "look at lb overrides get "+shell.Quote(key)+" and try again")
}

func (a *app) overridesEditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "edit KEY",
		Short:   "Change the route commands at a key in an editor ($VISUAL, $EDITOR)",
		Example: "  EDITOR=nano lb overrides edit 10-web",
		Args:    usage(cobra.ExactArgs(1)),
	}
	w := writeFlags(cmd)
	connect := a.overridesKV(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		client, paths, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		key, err := overrideKey(paths, args[0])
		if err != nil {
			return err
		}
		pair, _, err := client.Get(cmd.Context(), key)
		if err != nil {
			return consulError(err)
		}
		pair.Key = key
		f, err := os.CreateTemp("", "lb-overrides-*.txt")
		if err != nil {
			return err
		}
		// What was written by hand is kept where it does not reach Consul.
		defer func() {
			if err == nil {
				os.Remove(f.Name())
				return
			}
			fmt.Fprintf(a.err, "your text is kept: lb overrides set %s %s\n", shell.Quote(key), shell.Quote(f.Name()))
		}()
		_, err = f.Write(pair.Value)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := a.editor(cmd.Context(), f.Name()); err != nil {
			return err
		}
		text, err := os.ReadFile(f.Name())
		if err != nil {
			return err
		}
		return a.writeOverride(cmd.Context(), client, pair, text, w)
	}
	return cmd
}

// editor lets a person change a file; like crontab it leaves words and quotes in
// $EDITOR to the shell.
func (a *app) editor(ctx context.Context, file string) error {
	name := a.getenv("VISUAL")
	if name == "" {
		name = a.getenv("EDITOR")
	}
	if name == "" {
		name = "vi"
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", name+` "$1"`, name, file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.err, a.err
	if err := cmd.Run(); err != nil {
		return fail(exitFailed, fmt.Errorf("editor %s: %w", name, err), "EDITOR names another; nothing was written")
	}
	return nil
}

func (a *app) overridesDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete KEY",
		Short:   "Delete a key of route commands",
		Example: "  lb overrides delete 10-web --dry-run",
		Args:    usage(cobra.ExactArgs(1)),
	}
	dry := cmd.Flags().BoolP("dry-run", "n", false, "only show what would change")
	connect := a.overridesKV(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, paths, err := connect()
		if err != nil {
			return err
		}
		defer client.Close()
		key, err := overrideKey(paths, args[0])
		if err != nil {
			return err
		}
		pair, found, err := client.Get(cmd.Context(), key)
		switch {
		case err != nil:
			return consulError(err)
		case !found:
			return noOverride(client, key)
		}
		fmt.Fprintf(a.out, "%s\n%s", key, canary.Diff(pair.Value, nil))
		fmt.Fprintf(a.out, "same as: consul kv delete -cas -modify-index=%d %s\n", pair.Index, shell.Quote(key))
		if *dry {
			return nil
		}
		ok, err := client.DeleteCAS(cmd.Context(), key, pair.Index)
		switch {
		case err != nil:
			return consulError(err)
		case !ok:
			return changedMeanwhile(key)
		}
		fmt.Fprintln(a.out, "deleted")
		return nil
	}
	return cmd
}

func (a *app) overridesValidateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "validate [FILE | -]...",
		Short:   "Check route commands; the exit code is 0 or 2",
		Long:    "Check route commands in files or on standard input. Without arguments, check those\nin Consul.",
		Example: "  lb overrides validate commands.txt\n  lb overrides validate",
	}
	connect := a.overridesKV(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var errs []error
		check := func(name string, text []byte) {
			if err := refused(name, text); err != nil {
				errs = append(errs, err)
				return
			}
			commands, _ := route.ParseCommands(name, string(text))
			plural := "s"
			if len(commands) == 1 {
				plural = ""
			}
			fmt.Fprintf(a.out, "%s: ok, %d command%s\n", name, len(commands), plural)
		}
		for _, arg := range args {
			name, text, err := a.readArg(arg)
			if err != nil {
				return err
			}
			check(name, text)
		}
		if len(args) == 0 {
			client, paths, err := connect()
			if err != nil {
				return err
			}
			defer client.Close()
			for _, path := range paths {
				found, err := client.List(cmd.Context(), path)
				if err != nil {
					return consulError(err)
				}
				for _, p := range found {
					check(p.Key, p.Value)
				}
			}
		}
		return fail(exitUsage, together(errs), "docs/OVERRIDES.md has the language")
	}
	return cmd
}
