package extensions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/docker/cli/cli/command"
)

// call asks the daemon: in, if there is any, is sent as JSON, and out, if not
// nil, takes the answer. The daemon's refusals are errors in Docker's words.
func call(ctx context.Context, dockerCli command.Cli, method, path string, query url.Values, in, out any) error {
	dial := dockerCli.Client().Dialer()
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	// The host is nobody's: the dialer knows where to go.
	target := url.URL{Scheme: "http", Host: "jackstay", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		var op *net.OpError
		switch host := dockerCli.Client().DaemonHost(); {
		case errors.Is(err, os.ErrPermission):
			return fmt.Errorf("permission denied while trying to connect to the jackstay API at %s", host)
		case errors.As(err, &op) && op.Op == "dial" && strings.HasPrefix(host, "unix:"):
			return fmt.Errorf("Cannot connect to the Jackstay daemon at %s. Is jackstayd running?", host) //nolint:staticcheck // Docker's words
		case errors.As(err, &op) && op.Op == "dial": // across a network there is more to know
			return fmt.Errorf("Cannot connect to the Jackstay daemon at %s. Is jackstayd running? (%w)", host, op.Err) //nolint:staticcheck // Docker's words
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return refusal(resp)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the daemon's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// refusal reads Docker's form of an error.
func refusal(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var body struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(data, &body); err != nil || body.Message == "" {
		return fmt.Errorf("Error response from daemon: %s: %s", resp.Status, bytes.TrimSpace(data)) //nolint:staticcheck // Docker's words
	}
	if resp.StatusCode == http.StatusNotFound && body.Message == "page not found" {
		return fmt.Errorf("the daemon does not know this command: it is not jackstayd, or an older one")
	}
	return fmt.Errorf("Error response from daemon: %s", body.Message) //nolint:staticcheck // Docker's words
}
