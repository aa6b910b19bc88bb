package api

import (
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
)

// handlerFunc answers one request, or says why not.
type handlerFunc func(s *Server, w *responseWriter, r *request) error

// route is one line of the table of everything Docker's API has.
type route struct {
	Method, Pattern string
	serve           handlerFunc
	// Missing is what an unsupported route would do, and Instead what to do now;
	// Missing is empty for routes that work.
	Missing, Instead string
	// Note limits what works, for docs/compatibility.md.
	Note string
	// Administrator says that tenants may not use it.
	Administrator bool
}

// routes is every route of the Docker Engine API, those that work and those
// that do not, and Jackstay's own. docs/compatibility.md is checked against it.
func routes() []route {
	var all []route
	for _, part := range [][]route{systemRoutes(), containerRoutes(), streamRoutes(), networkRoutes(), volumeRoutes(), imageRoutes(), extensionRoutes(), fipRoutes(), sgRoutes(), nicRoutes(), tenantRoutes(), missingRoutes()} {
		all = append(all, part...)
	}
	return all
}

func systemRoutes() []route {
	return []route{
		{Method: "GET", Pattern: "/_ping", serve: (*Server).ping},
		{Method: "GET", Pattern: "/version", serve: (*Server).versionInfo},
		{Method: "GET", Pattern: "/info", serve: (*Server).info},
		{Method: "GET", Pattern: "/events", serve: (*Server).events},
		{Method: "GET", Pattern: "/system/df", serve: (*Server).diskUsage, Note: "no build cache"},
		{Method: "POST", Pattern: "/build/prune", serve: (*Server).buildPrune, Note: "there is no build cache: nothing is pruned"},
		{Method: "POST", Pattern: "/auth", serve: (*Server).auth},
	}
}

func containerRoutes() []route {
	return []route{
		{Method: "GET", Pattern: "/containers/json", serve: (*Server).containerList},
		{Method: "POST", Pattern: "/containers/create", serve: (*Server).containerCreate, Note: "options that are not supported are refused by name, see below"},
		{Method: "POST", Pattern: "/containers/prune", serve: (*Server).containerPrune},
		{Method: "GET", Pattern: "/containers/{name}/json", serve: (*Server).containerInspect},
		{Method: "GET", Pattern: "/containers/{name}/top", serve: (*Server).containerTop},
		{Method: "GET", Pattern: "/containers/{name}/changes", serve: (*Server).containerChanges},
		{Method: "GET", Pattern: "/containers/{name}/stats", serve: (*Server).containerStats},
		{Method: "POST", Pattern: "/containers/{name}/start", serve: (*Server).containerStart},
		{Method: "POST", Pattern: "/containers/{name}/stop", serve: (*Server).containerStop},
		{Method: "POST", Pattern: "/containers/{name}/restart", serve: (*Server).containerRestart},
		{Method: "POST", Pattern: "/containers/{name}/kill", serve: (*Server).containerKill},
		{Method: "POST", Pattern: "/containers/{name}/pause", serve: (*Server).containerPause},
		{Method: "POST", Pattern: "/containers/{name}/unpause", serve: (*Server).containerUnpause},
		{Method: "POST", Pattern: "/containers/{name}/rename", serve: (*Server).containerRename},
		{Method: "POST", Pattern: "/containers/{name}/update", serve: (*Server).containerUpdate, Note: "with NetRateIn and NetRateOut of Jackstay's own; see [bandwidth](bandwidth.md)"},
		{Method: "POST", Pattern: "/containers/{name}/wait", serve: (*Server).containerWait},
		{Method: "POST", Pattern: "/containers/{name}/resize", serve: (*Server).containerResize},
		{Method: "DELETE", Pattern: "/containers/{name...}", serve: (*Server).containerRemove, Note: "`link=1` (removing a link only) is not supported"},
	}
}

func streamRoutes() []route {
	return []route{
		{Method: "GET", Pattern: "/containers/{name}/logs", serve: (*Server).containerLogs},
		{Method: "POST", Pattern: "/containers/{name}/attach", serve: (*Server).containerAttach},
		{Method: "POST", Pattern: "/containers/{name}/exec", serve: (*Server).execCreate},
		{Method: "GET", Pattern: "/exec/{name}/json", serve: (*Server).execInspect},
		{Method: "POST", Pattern: "/exec/{name}/start", serve: (*Server).execStart},
		{Method: "POST", Pattern: "/exec/{name}/resize", serve: (*Server).execResize},
	}
}

func networkRoutes() []route {
	return []route{
		{Method: "GET", Pattern: "/networks", serve: (*Server).networkList},
		{Method: "GET", Pattern: "/networks/{name}", serve: (*Server).networkInspect},
		{Method: "POST", Pattern: "/networks/create", serve: (*Server).networkCreate, Note: "no config-only and ingress networks, no IPAM options"},
		{Method: "POST", Pattern: "/networks/prune", serve: (*Server).networkPrune},
		{Method: "POST", Pattern: "/networks/{name}/connect", serve: (*Server).networkConnect},
		{Method: "POST", Pattern: "/networks/{name}/disconnect", serve: (*Server).networkDisconnect},
		{Method: "DELETE", Pattern: "/networks/{name}", serve: (*Server).networkRemove},
	}
}

func volumeRoutes() []route {
	return []route{
		{Method: "GET", Pattern: "/volumes", serve: (*Server).volumeList},
		{Method: "GET", Pattern: "/volumes/{name}", serve: (*Server).volumeInspect},
		{Method: "POST", Pattern: "/volumes/create", serve: (*Server).volumeCreate, Note: "driver `local`"},
		{Method: "POST", Pattern: "/volumes/prune", serve: (*Server).volumePrune},
		{Method: "DELETE", Pattern: "/volumes/{name}", serve: (*Server).volumeRemove},
	}
}

// Floating IPs are not Docker's: their routes are Hyper.sh's.
func fipRoutes() []route {
	const hyper, own = "Jackstay's own (Hyper.sh's): [floating IPs](floating-ips.md)", "Jackstay's own: [floating IPs](floating-ips.md)"
	return []route{
		{Method: "GET", Pattern: "/fips", serve: (*Server).fipList, Note: hyper},
		{Method: "POST", Pattern: "/fips/allocate", serve: (*Server).fipAllocate, Note: hyper},
		{Method: "POST", Pattern: "/fips/attach", serve: (*Server).fipAttach, Note: hyper},
		{Method: "POST", Pattern: "/fips/detach", serve: (*Server).fipDetach, Note: hyper},
		{Method: "POST", Pattern: "/fips/release", serve: (*Server).fipRelease, Note: hyper},
		{Method: "POST", Pattern: "/fips/name", serve: (*Server).fipName, Note: hyper},
		{Method: "GET", Pattern: "/fips/pools", serve: (*Server).fipPoolList, Note: own, Administrator: true},
		{Method: "POST", Pattern: "/fips/pools", serve: (*Server).fipPoolAdd, Note: own, Administrator: true},
		{Method: "DELETE", Pattern: "/fips/pools", serve: (*Server).fipPoolRemove, Note: own, Administrator: true},
	}
}

// Names of images contain slashes, so those routes end in a wildcard and
// imageGet and imagePost tell them apart by their last part.
func imageRoutes() []route {
	return []route{
		{Method: "GET", Pattern: "/images/json", serve: (*Server).imageList},
		{Method: "GET", Pattern: "/images/search", serve: (*Server).imageSearch},
		{Method: "GET", Pattern: "/images/get", serve: (*Server).imageSave},
		{Method: "GET", Pattern: "/images/{path...}", serve: (*Server).imageGet, Note: "`/json`, `/history` and `/get`; `/attestations` answers 501"},
		{Method: "POST", Pattern: "/images/create", serve: (*Server).imageCreate, Note: "import from a body, not from a URL"},
		{Method: "POST", Pattern: "/images/load", serve: (*Server).imageLoad, Administrator: true},
		{Method: "POST", Pattern: "/images/prune", serve: (*Server).imagePrune},
		{Method: "POST", Pattern: "/images/{path...}", serve: (*Server).imagePost, Note: "`/push` and `/tag`"},
		{Method: "DELETE", Pattern: "/images/{name...}", serve: (*Server).imageRemove},
	}
}

// missing makes routes that answer 501, one for each "METHOD /pattern".
func missing(what, instead string, patterns ...string) []route {
	var out []route
	for _, p := range patterns {
		method, pattern, _ := strings.Cut(p, " ")
		out = append(out, route{Method: method, Pattern: pattern, Missing: what, Instead: instead, serve: notSupported(what, instead)})
	}
	return out
}

func notSupported(what, instead string) handlerFunc {
	verb := "is"
	if slices.Contains([]string{"build sessions", "secrets", "configs", "managed plugins"}, what) {
		verb = "are"
	}
	return func(*Server, *responseWriter, *request) error {
		return errs.New(errs.NotImplemented, "%s %s not supported by Jackstay: %s", what, verb, instead)
	}
}

// missingRoutes are Docker's routes that Jackstay has not.
func missingRoutes() []route {
	const swarm = "it has no orchestrator; run containers and networks on each host"
	groups := [][]route{
		missing("building images", "build with another tool (docker buildx with a container driver, buildah, kaniko) and load or push the result",
			"POST /build", "POST /build/cancel"),
		missing("build sessions", "build with another tool and load or push the result", "POST /session", "POST /grpc"),
		missing("committing a container to an image", "export its files with tar from inside and use `docker import`", "POST /commit"),
		missing("copying files (docker cp)", "use `docker exec CONTAINER tar`, or a bind mount or volume",
			"GET /containers/{name}/archive", "PUT /containers/{name}/archive", "HEAD /containers/{name}/archive"),
		missing("exporting a container's files", "use `docker exec CONTAINER tar -c /`", "GET /containers/{name}/export"),
		missing("attaching over a WebSocket", "use POST /containers/NAME/attach", "GET /containers/{name}/attach/ws"),
		missing("checkpoint and restore", "stop and start the container",
			"GET /containers/{name}/checkpoints", "POST /containers/{name}/checkpoints", "DELETE /containers/{name}/checkpoints/{checkpoint}"),
		missing("asking a registry about an image", "pull the image and inspect it", "GET /distribution/{path...}"),
		missing("swarm mode", swarm,
			"GET /swarm", "POST /swarm/init", "POST /swarm/join", "POST /swarm/leave", "POST /swarm/update", "GET /swarm/unlockkey", "POST /swarm/unlock",
			"GET /nodes", "GET /nodes/{name}", "DELETE /nodes/{name}", "POST /nodes/{name}/update",
			"GET /services", "POST /services/create", "GET /services/{name}", "DELETE /services/{name}", "POST /services/{name}/update", "GET /services/{name}/logs",
			"GET /tasks", "GET /tasks/{name}", "GET /tasks/{name}/logs",
			"PUT /volumes/{name}"),
		missing("secrets", "mount a file or pass an environment variable",
			"GET /secrets", "POST /secrets/create", "GET /secrets/{name}", "DELETE /secrets/{name}", "POST /secrets/{name}/update"),
		missing("configs", "mount a file",
			"GET /configs", "POST /configs/create", "GET /configs/{name}", "DELETE /configs/{name}", "POST /configs/{name}/update"),
		missing("managed plugins", "its networks, volumes and logs need none",
			"GET /plugins", "GET /plugins/privileges", "POST /plugins/pull", "POST /plugins/create", "GET /plugins/{name}/json", "DELETE /plugins/{name...}",
			"POST /plugins/{name}/enable", "POST /plugins/{name}/disable", "POST /plugins/{name}/upgrade", "POST /plugins/{name}/push", "POST /plugins/{name}/set"),
	}
	var all []route
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}
