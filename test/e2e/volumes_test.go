package e2e

import (
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

// Bind mounts and volumes as a user of docker knows them.
func TestVolumes(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	d := h.Dir
	h.Sh(`mkdir ` + d + `/dir && echo in >` + d + `/dir/x && echo file >` + d + `/file`)
	h.Import("withdata", host.BusyboxTar(t), "VOLUME /etc", `CMD ["sh"]`, "ENV PATH=/bin")
	try(h, []step{
		{line: `docker run --rm -v ` + d + `/dir:/mnt:ro busybox sh -c 'cat /mnt/x; echo no >/mnt/y'`, code: 1, want: `in`, says: `Read-only file system`},
		{line: `docker run --rm -v ` + d + `/dir:/mnt busybox sh -c 'echo out >/mnt/y' && cat ` + d + `/dir/y`, want: `out`},
		{line: `docker run --rm -v ` + d + `/file:/etc/motd:ro busybox cat /etc/motd`, want: `file`},
		{line: `docker run --rm -v ` + d + `/new/deep:/mnt busybox touch /mnt/made && ls ` + d + `/new/deep`, want: `made`},
		{line: `docker run --rm --mount type=bind,src=` + d + `/dir,dst=/mnt,readonly busybox touch /mnt/z`, code: 1, says: `Read-only file system`},

		// A new volume takes what the image has there, with owner and mode; one with something in it does not.
		{line: `docker run --rm -v data:/etc busybox sh -c 'ls /etc; echo mine >/etc/mine'`, want: `group\nhostname\nhosts\npasswd\nresolv\.conf|group\npasswd`},
		{line: `docker run --rm -v data:/tmp/x busybox sh -c 'ls /tmp/x | grep -v -e host -e resolv'`, want: `group\nmine\npasswd`},
		{line: `docker run --rm -v data:/bin/nothing:ro busybox touch /bin/nothing/x`, code: 1, says: `Read-only file system`},
		{line: `docker run --rm -v sticky:/tmp busybox true; docker run --rm -v sticky:/x busybox stat -c %a /x`, want: `1777`},
		{line: `docker run --rm -v empty:/etc:nocopy busybox sh -c 'ls /etc | grep passwd'`, code: 1},
		{line: `docker run --rm --mount type=volume,src=other,dst=/x,volume-label=a=b busybox true; docker volume inspect other -f '{{.Labels.a}} {{.Driver}} {{.Scope}}'`, want: `b local local`},
		{line: `docker volume inspect data -f '{{.Name}} {{.Mountpoint}}'`, want: `data ` + h.Root() + `/volumes/data/_data`},
		{line: `docker volume ls -q --filter label=a`, want: `other`},
		{line: `docker volume ls --filter name=da --format '{{.Driver}} {{.Name}}'`, want: `local data`},
		{line: `docker volume create data`, want: `data`},
		{line: `docker volume create -d nfs x`, code: 1, says: `nfs`},
		{line: `docker volume create bad/name`, code: 1, says: `includes invalid characters`},

		// Shared between containers; in use they stay.
		{line: `docker run -d --name keeper -v data:/data -v /anon busybox sleep 1000`, want: id64},
		{line: `docker run --rm --volumes-from keeper busybox cat /data/mine`, want: `mine`},
		{line: `docker run --rm --volumes-from keeper:ro busybox touch /data/x`, code: 1, says: `Read-only file system`},
		{line: `docker volume rm data`, code: 1, says: `volume is in use - [`},
		{line: `docker volume ls -q --filter dangling=false | wc -l`, want: `2`},
		{line: `docker inspect keeper -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{end}}'`, want: `volume /data true volume /anon true|volume /anon true volume /data true`},
		{line: `docker ps --filter volume=data --format '{{.Names}}'`, want: `keeper`},
		{line: `docker stop -t 0 keeper && docker start keeper && docker exec keeper cat /data/mine`, want: `keeper\nkeeper\nmine`},
		{line: `docker rm -fv keeper; docker volume ls -q | sort | tr '\n' ' '`, want: `keeper\ndata empty other sticky`},

		// Anonymous ones go with --rm, named ones stay; an image's VOLUME is one.
		{line: `docker run --rm withdata sh -c 'mount | grep -c " /etc "'`, want: `1`},
		{line: `docker volume ls -q | wc -l`, want: `4`},
		{line: `docker run --name left withdata cat /etc/passwd | head -1; docker rm left; docker volume ls -q --filter dangling=true | wc -l`, want: `root:.*\nleft\n5`},
		{line: `docker volume prune -f`, want: `Deleted Volumes:\n` + id64 + `\n\nTotal reclaimed space: .*B`},
		{line: `docker volume rm data nothing`, code: 1, want: `data`, says: `nothing`},
		{line: `docker volume rm -f nothing`, want: `nothing`},
		{line: `docker volume prune -af | grep -c -e other -e sticky -e empty`, want: `3`},
		{line: `ls ` + h.Root() + `/volumes`},
	})
}
