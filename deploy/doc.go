// Package deploy holds what runs Serin elsewhere (compose cluster, images,
// systemd unit) and the tests that start it for real.
package deploy
