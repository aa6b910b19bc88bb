package main

import (
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// A tenant's certificate is nobody's as soon as the removal begins, as its
// socket is, and not when the last of what it has is gone.
func TestServedTenants(t *testing.T) {
	s := &model.Snapshot{Tenants: map[string]*model.Tenant{"acme": {Name: "acme"}, "leaving": {Name: "leaving", Removing: true}}}
	for name, want := range map[string]bool{"acme": true, "leaving": false, "gone": false, "": false} {
		if got := served(s, name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}
