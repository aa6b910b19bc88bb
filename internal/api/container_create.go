package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/model"
)

// createBody is what POST /containers/create carries: the container's Config at
// the top, with the two others in it.
type createBody struct {
	container.Config
	// MacAddress was container-wide before API 1.44.
	MacAddress string
	HostConfig container.HostConfig
	Networks   []namedEndpoint `json:"-"`
}

// namedEndpoint is one of EndpointsConfig, in the order of the request.
type namedEndpoint struct {
	Network string
	network.EndpointSettings
}

func (s *Server) containerCreate(w *responseWriter, r *request) error {
	data, err := r.body()
	if err != nil {
		return err
	}
	body, err := decodeCreate(data)
	if err != nil {
		return err
	}
	req, warnings, err := createRequest(body, r.version)
	if err != nil {
		return err
	}
	req.Name = strings.TrimPrefix(r.param("name"), "/")
	if !r.version.before(41) {
		req.Platform = r.param("platform")
	}
	s.mainNetworkFirst(req.Endpoints, string(req.Host.NetworkMode))
	id, more, err := s.engine.CreateContainer(r.Context(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.CreateResponse{ID: id, Warnings: nonNil(append(more, warnings...))})
	return nil
}

// decodeCreate reads the body, refusing members nobody knows.
func decodeCreate(data []byte) (*createBody, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, invalid("invalid JSON: got EOF while reading request body")
	}
	var parts struct {
		Cmd, Entrypoint  json.RawMessage
		HostConfig       json.RawMessage
		NetworkingConfig json.RawMessage
	}
	if err := decodeJSON(data, &parts); err != nil {
		return nil, err
	}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil, invalid("config cannot be empty in order to create a container")
	}
	data, err := wordsToLists(data, map[string]json.RawMessage{"Cmd": parts.Cmd, "Entrypoint": parts.Entrypoint})
	if err != nil {
		return nil, err
	}
	body := &createBody{}
	if err := decodeJSON(data, body); err != nil {
		return nil, err
	}
	if err := refuseUnknown(data, "", *body, []string{"NetworkingConfig"}); err != nil {
		return nil, err
	}
	if isObject(parts.HostConfig) {
		if err := refuseUnknown(parts.HostConfig, "HostConfig", body.HostConfig, nil); err != nil {
			return nil, err
		}
	}
	body.Networks, err = decodeEndpoints(parts.NetworkingConfig)
	return body, err
}

func isObject(data json.RawMessage) bool {
	data = bytes.TrimSpace(data)
	return len(data) > 0 && data[0] == '{'
}

// wordsToLists makes "Cmd": "word" a list of one, as Docker accepts it.
func wordsToLists(data []byte, members map[string]json.RawMessage) ([]byte, error) {
	var whole map[string]json.RawMessage
	for name, value := range members {
		value = bytes.TrimSpace(value)
		if len(value) == 0 || value[0] != '"' {
			continue
		}
		if whole == nil {
			if err := decodeJSON(data, &whole); err != nil {
				return nil, err
			}
		}
		whole[name] = append(append([]byte{'['}, value...), ']')
	}
	if whole == nil {
		return data, nil
	}
	return json.Marshal(whole)
}

// decodeEndpoints reads EndpointsConfig in the order it was written, which a
// map would lose: interfaces get their numbers by it.
func decodeEndpoints(data json.RawMessage) ([]namedEndpoint, error) {
	if !isObject(data) {
		return nil, nil
	}
	var config struct{ EndpointsConfig json.RawMessage }
	if err := decodeJSON(data, &config); err != nil {
		return nil, err
	}
	if !isObject(config.EndpointsConfig) {
		return nil, nil
	}
	var out []namedEndpoint
	dec := json.NewDecoder(bytes.NewReader(config.EndpointsConfig))
	if _, err := dec.Token(); err != nil {
		return nil, invalid("invalid JSON: %w", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, invalid("invalid JSON: %w", err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, invalid("invalid JSON: %w", err)
		}
		name, _ := key.(string)
		e := namedEndpoint{Network: name}
		if err := decodeEndpoint(raw, "NetworkingConfig.EndpointsConfig."+name, &e.EndpointSettings); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func decodeEndpoint(raw json.RawMessage, where string, e *network.EndpointSettings) error {
	if !isObject(raw) {
		return nil
	}
	if err := decodeJSON(raw, e); err != nil {
		return err
	}
	return refuseUnknown(raw, where, *e, nil)
}

// createRequest turns a body into what the engine understands, or refuses it.
func createRequest(b *createBody, v apiVersion) (model.CreateRequest, []string, error) {
	var req model.CreateRequest
	adaptToVersion(b, v)
	if err := checkConfig(b); err != nil {
		return req, nil, err
	}
	if err := checkHost(&b.HostConfig, v); err != nil {
		return req, nil, err
	}
	config, err := configOf(&b.Config)
	if err != nil {
		return req, nil, err
	}
	host, err := hostOf(&b.HostConfig, v)
	if err != nil {
		return req, nil, err
	}
	req = model.CreateRequest{
		Image: b.Image, Config: config, Host: host,
		EntrypointReset: b.Entrypoint != nil && (len(b.Entrypoint) == 0 || len(b.Entrypoint) == 1 && b.Entrypoint[0] == ""),
	}
	if req.EntrypointReset {
		req.Config.Entrypoint = nil
	}
	warnings, err := networksOf(b, &req, v)
	return req, warnings, err
}

// adaptToVersion drops what an older client may send without meaning it, for
// its version did not have it.
func adaptToVersion(b *createBody, v apiVersion) {
	h := &b.HostConfig
	if v.before(25) {
		h.AutoRemove = false // the client removes the container itself
	}
	if v.before(40) && h.IpcMode == "" {
		h.IpcMode = container.IPCModeShareable
	}
	if v.before(42) {
		h.ConsoleSize = [2]uint{}
	}
	if v.before(43) {
		h.Annotations = nil
	}
	if v.before(48) {
		for i := range b.Networks {
			b.Networks[i].GwPriority = 0
		}
	}
	for i := range h.Mounts {
		adaptMount(&h.Mounts[i], v)
	}
}
