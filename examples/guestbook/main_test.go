package main

import (
	"context"
	"strings"
	"testing"
)

func TestCountSaysWhyThereIsNoRedis(t *testing.T) {
	_, _, err := count(context.Background(), "redis.invalid")
	if err == nil || !strings.Contains(err.Error(), "redis.invalid") {
		t.Fatalf("want an error naming redis.invalid, got %v", err)
	}
}
