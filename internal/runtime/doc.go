// Package runtime runs containers with an OCI runtime (runc) under conmon.
//
// conmon is a small program that stays with each container: it holds the
// container's standard streams, writes its log and its exit code, and serves
// whoever attaches. Containers, logs and exits so outlive the daemon, and
// everything this package knows it reads back from files:
//
//	RUN/containers/ID/          the OCI bundle: config.json, record.json (see
//	                            record), conmon's sockets, fifos and pid file
//	RUN/runc/ID/                the OCI runtime's own state
//	RUN/exec/ID/                files of one running exec
//	ROOT/exits/ID               conmon's exit file: the exit code; its mtime is
//	                            the end. One directory for all, so one watch
//	                            serves every container
//	ROOT/containers/ID/container.log
//	                            the log, in conmon's k8s-file format
//
// Where to look: spec*.go make the OCI configuration, create.go and start.go
// the process, exits.go delivers its end, attach.go and exec.go carry streams,
// log*.go read and rotate logs, cgroup.go and stats.go speak to cgroups,
// delete.go collects what is left.
package runtime
