package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"serin/canary"
)

// seedDocument is one document of canary.seed.
type seedDocument struct {
	service string // "" is all without one of their own
	text    []byte
}

// readSeed reads the file of canary.seed; none for "".
func readSeed(file string) ([]seedDocument, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err == nil {
		var docs []seedDocument
		if docs, err = parseSeed(file, data); err == nil {
			return docs, nil
		}
	}
	return nil, fail(exitUsage, fmt.Errorf("canary.seed: %w", err), `it holds an object of documents by service, such as {"web": {"ratio": 0.1}}; "*" is the one for all others`)
}

// parseSeed reads an object of documents by service and checks each; the error
// says where in the file it is wrong.
func parseSeed(name string, data []byte) (out []seedDocument, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	wrong := func(format string, args ...any) error {
		line, column := placeOf(data, int(dec.InputOffset()))
		return fmt.Errorf("%s:%d:%d: %s", name, line, column, fmt.Sprintf(format, args...))
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, wrong("not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, wrong("not JSON: %v", err)
		}
		service := canary.Unlabel(t.(string))
		switch {
		case strings.ContainsAny(service, "/*"):
			return nil, wrong("%q is no service", t)
		case seen[service]:
			return nil, wrong("%q is there twice", t)
		}
		seen[service] = true
		var text json.RawMessage
		if err := dec.Decode(&text); err != nil {
			return nil, wrong("not JSON: %v", err)
		}
		if _, err := canary.Parse(name, text); err != nil {
			if e, ok := errors.AsType[*canary.Error](err); ok {
				line, column := placeOf(data, int(dec.InputOffset())-len(text))
				if e.Line == 1 {
					e.Column += column - 1
				}
				e.Line += line - 1
			}
			return nil, err
		}
		out = append(out, seedDocument{service, text})
	}
	if _, err := dec.Token(); err != nil {
		return nil, wrong("not JSON: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, wrong("something follows the object")
	}
	return out, nil
}

// placeOf tells the line and column of a byte, both from 1.
func placeOf(data []byte, off int) (line, column int) {
	before := data[:min(off, len(data))]
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// sow writes each document of canary.seed whose key is absent, trying until
// Consul has answered for all. It never writes a key that is there.
func (b *balancer) sow(ctx context.Context) error {
	left := b.seed
	said := false
	again(ctx, func() bool {
		var failed []seedDocument
		for _, d := range left {
			key := canary.KeyOf(b.cfg.Canary.Prefix, d.service)
			ok, err := b.client.CAS(ctx, key, d.text, 0)
			switch {
			case ctx.Err() != nil:
				return false
			case err != nil:
				failed = append(failed, d)
				if !said {
					said = true
					b.log.Warn("a document of canary.seed cannot be written yet", "key", key, "error", err)
				}
			case ok:
				b.log.Info("canary document written from canary.seed, as there was none", "key", key)
			default:
				b.log.Info("canary.seed has a document that is there already: it stays as it is", "key", key)
			}
		}
		left = failed
		return left == nil
	})
	return nil
}
