package admin

import (
	"net/http/httptest"
	"testing"

	"serin/schema"
)

func TestSchemaIsServed(t *testing.T) {
	w := httptest.NewRecorder()
	new(Server).Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/api/v1/schema/canary.json", nil))
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/schema+json" || w.Body.String() != string(schema.Canary()) {
		t.Errorf("%d %s, %d bytes", w.Code, w.Header().Get("Content-Type"), w.Body.Len())
	}
}
