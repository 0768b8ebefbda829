package admin

import (
	"bytes"
	"io"
	"strings"

	"serin/route"
)

// writeCommands writes the routes of a table as route commands (see
// [route.Table.PrintCommands]), of one service unless that is "".
func writeCommands(w io.Writer, t *route.Table, service string) error {
	var all bytes.Buffer
	if err := t.PrintCommands(&all); err != nil {
		return err
	}
	if service == "" {
		_, err := w.Write(all.Bytes())
		return err
	}
	var out strings.Builder
	note := "" // about the commands that follow
	for line := range strings.Lines(all.String()) {
		_, command, ok := strings.Cut(line, "route add ")
		if !ok {
			_, command, ok = strings.Cut(line, "# no target: ")
		}
		name, _, _ := strings.Cut(command, " ")
		switch {
		case !ok:
			note = line
		case name == service:
			out.WriteString(note + line)
			note = ""
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
