package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/docker/cli/cli/command"
)

// daemon calls routes of the API that Docker's client does not know, over the
// connection that client uses.
type daemon struct{ cli command.Cli }

// call sends a request, with body as JSON unless nil, and decodes the answer
// into out unless nil. An error of the daemon's reads as docker/cli's do.
func (d daemon) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://jackstay"+path+"?"+query.Encode(), content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	dial := d.cli.Client().Dialer()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("failed to connect to the jackstay API at %s: %w; is jackstayd running?", d.cli.Client().DaemonHost(), err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return refusal(resp.Status, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// refusal is the error in an answer.
func refusal(status string, data []byte) error {
	var body struct{ Message string }
	if json.Unmarshal(data, &body) != nil || body.Message == "" {
		body.Message = strings.TrimSpace(status + " " + string(data))
	}
	return fmt.Errorf("Error response from daemon: %s", body.Message) //nolint:staticcheck // docker/cli's words
}
