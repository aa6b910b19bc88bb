# One Makefile for all: `make build`, `make demo`, `make test`, `make bench`, `make install`.
export CGO_ENABLED = 0
TAGS    = containers_image_openpgp exclude_graphdriver_btrfs
COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
COMMITTED := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
VERSION = github.com/jackstay/jackstay/internal/version
LDFLAGS = -s -w -X $(VERSION).Commit=$(COMMIT) -X $(VERSION).Time=$(COMMITTED)
GOBUILD = go build -trimpath -tags "$(TAGS)" -ldflags "$(LDFLAGS)"
PREFIX  = /usr/local
UNITDIR = /etc/systemd/system
PLUGINDIR = $(PREFIX)/lib/docker/cli-plugins

.PHONY: build demo demo-stop test lint bench install uninstall clean
build: ## bin/jackstay and bin/jackstayd, static
	$(GOBUILD) -o bin/ ./cmd/jackstay ./cmd/jackstayd

bin/guestbook: $(wildcard examples/guestbook/*.go)
	$(GOBUILD) -o $@ ./examples/guestbook

bin/probe: $(wildcard test/probe/*.go)
	$(GOBUILD) -o $@ ./test/probe

demo: build bin/guestbook ## two real containers, found by name, on a published port
	./examples/demo/demo start

demo-stop: ## leaves no trace of the demo
	./examples/demo/demo stop

test: build bin/guestbook bin/probe ## unit, kernel and end-to-end tests; without root those that need none
	./test/run

lint: ## gofmt, go vet, and golangci-lint if it is there
	@test -z "$$(gofmt -l cmd internal test examples bench)" || { gofmt -l cmd internal test examples bench; exit 1; }
	go vet -tags "$(TAGS)" ./...
	@! command -v golangci-lint >/dev/null || golangci-lint run

bench: build bin/probe ## side by side with what else is installed; BENCH=quick for under three minutes
	go run -tags "$(TAGS)" ./bench

install: build ## binaries, `docker fip`, systemd unit and socket, completions
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin bin/jackstay bin/jackstayd
	install -d $(DESTDIR)$(PLUGINDIR)
	ln -sf $(PREFIX)/bin/jackstay $(DESTDIR)$(PLUGINDIR)/docker-fip
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|@BIN@|$(PREFIX)/bin|' packaging/jackstay.service >$(DESTDIR)$(UNITDIR)/jackstay.service
	install -m 644 packaging/jackstay.socket $(DESTDIR)$(UNITDIR)/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/jackstay completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/jackstay
	bin/jackstay completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_jackstay
	bin/jackstay completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/jackstay.fish
	@test -n "$(DESTDIR)" || echo "Now: groupadd -f jackstay; systemctl daemon-reload; systemctl enable --now jackstay.socket jackstay.service"

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/jackstay $(DESTDIR)$(PREFIX)/bin/jackstayd
	rm -f $(DESTDIR)$(PLUGINDIR)/docker-fip
	rm -f $(DESTDIR)$(UNITDIR)/jackstay.service $(DESTDIR)$(UNITDIR)/jackstay.socket
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jackstay $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_jackstay $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/jackstay.fish

clean:
	rm -rf bin
