package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"

	"serin/internal/devconsul"
)

// The log says that the secret cannot be shared, and when that is over.
func TestTheSecretIsSharedAtLast(t *testing.T) {
	var asked atomic.Int32
	dc := devconsul.New()
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
			return
		}
		dc.ServeHTTP(w, r)
	}))
	defer agent.Close()
	cfg := Default()
	cfg.Registry.Consul.Addr = agent.URL
	open, err := devListeners(&cfg, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b, err := assembleOn(open, cfg, io.Discard, hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err != nil {
		t.Fatal(err)
	}
	defer b.closeFiles()
	if err := b.shareSecret(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, then, _ := strings.Cut(log.String(), "cannot be shared yet")
	if first == log.String() || !strings.Contains(then, "is shared now") {
		t.Errorf("log\n got %s\nwant that it cannot be shared yet, then that it is", log.String())
	}
}
