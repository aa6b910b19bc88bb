package image

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
)

// TestChanges: Dockerfile lines and the configuration they make, in its JSON form.
func TestChanges(t *testing.T) {
	for name, c := range map[string]struct {
		changes []string
		want    string
	}{
		"exec form":         {[]string{`CMD ["a", "b c"]`, `ENTRYPOINT ["/x"]`}, `{"Cmd":["a","b c"],"Entrypoint":["/x"]}`},
		"shell form":        {[]string{`CMD echo "$HOME" | cat`}, `{"Cmd":["/bin/sh","-c","echo \"$HOME\" | cat"]}`},
		"broken exec form":  {[]string{`CMD ["a" "b"]`}, `{"Cmd":["/bin/sh","-c","[\"a\" \"b\"]"]}`},
		"empty exec form":   {[]string{`CMD ["a"]`, `CMD []`}, `{}`},
		"lower case":        {[]string{`cmd ["a"]`}, `{"Cmd":["a"]}`},
		"env":               {[]string{`ENV A=1 B='x y' C="p q" D=r\ s E=`}, `{"Env":["A=1","B=x y","C=p q","D=r s","E="]}`},
		"old env":           {[]string{`ENV A one  two`}, `{"Env":["A=one  two"]}`},
		"env again":         {[]string{`ENV A=1`, `ENV B=2 A=3`}, `{"Env":["A=3","B=2"]}`},
		"variables":         {[]string{`ENV A=1 B=2`, `ENV C=$A-${B} D='$A' E=\$A F=${X:-none} G=${A:+some} H=$X I="$A"`}, `{"Env":["A=1","B=2","C=1-2","D=$A","E=$A","F=none","G=some","H=","I=1"]}`},
		"one line's own":    {[]string{`ENV A=1`, `ENV A=2 B=$A`}, `{"Env":["A=2","B=1"]}`},
		"expose":            {[]string{`EXPOSE 80 53/udp 7000-7002/TCP`}, `{"ExposedPorts":{"53/udp":{},"7000/tcp":{},"7001/tcp":{},"7002/tcp":{},"80/tcp":{}}}`},
		"exposed variable":  {[]string{`ENV P=81`, `EXPOSE $P`}, `{"ExposedPorts":{"81/tcp":{}},"Env":["P=81"]}`},
		"workdir":           {[]string{`WORKDIR /a/`, `WORKDIR b/../c`}, `{"WorkingDir":"/a/c"}`},
		"user":              {[]string{`USER me:us`}, `{"User":"me:us"}`},
		"label":             {[]string{`LABEL a=b "c d"="e f"`, `LABEL old style`}, `{"Labels":{"a":"b","c d":"e f","old":"style"}}`},
		"volume":            {[]string{`VOLUME /a /b`, `VOLUME ["/c d"]`}, `{"Volumes":{"/a":{},"/b":{},"/c d":{}}}`},
		"stop signal":       {[]string{`STOPSIGNAL SIGRTMIN+3`}, `{"StopSignal":"SIGRTMIN+3"}`},
		"health check":      {[]string{`HEALTHCHECK NONE`}, `{"Healthcheck":{"Test":["NONE"]}}`},
		"on build":          {[]string{`ONBUILD RUN x`}, `{"OnBuild":["RUN x"]}`},
		"several lines":     {[]string{"# a comment\nENV A=1 \\\n  B=2\n\nUSER x"}, `{"User":"x","Env":["A=1","B=2"]}`},
		"continued nothing": {[]string{"USER x \\"}, `{"User":"x"}`},
	} {
		var config configJSON
		err := applyChanges(&config, c.changes)
		got, _ := json.Marshal(config)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s %v, want %s", name, got, err, c.want)
		}
	}
}

func TestChangesRefused(t *testing.T) {
	for line, want := range map[string]string{
		"FROM x":                 "FROM is not a valid change command",
		"RUN x":                  "RUN is not a valid change command",
		"MAINTAINER x":           "MAINTAINER is not a valid change command",
		"CMD":                    "CMD requires at least one argument",
		"ENV A":                  "A must have two arguments",
		"ENV A=1 B":              "can't find = in \"B\"",
		"ENV =1":                 "names can not be blank",
		`ENV A="x`:               "looking for matching double-quote",
		"ENV A='x":               "looking for matching single-quote",
		"ENV A=${B":              "missing }",
		"ENV A=${B:?x}":          "unsupported modifier",
		"EXPOSE x":               "invalid containerPort: x",
		"EXPOSE 0":               "invalid containerPort: 0",
		"EXPOSE 70000":           "invalid containerPort: 70000",
		"EXPOSE 9-8":             "invalid containerPort: 9-8",
		"EXPOSE 80/icmp":         "invalid proto: icmp",
		"STOPSIGNAL SIGNONE":     "invalid signal: SIGNONE",
		"STOPSIGNAL 65":          "invalid signal: 65",
		"STOPSIGNAL SIGRTMIN+31": "invalid signal",
		"HEALTHCHECK CMD true":   "health checks are not supported",
		`VOLUME [""]`:            "can not be an empty string",
	} {
		err := applyChanges(&configJSON{}, []string{line})
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "invalid change") {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}

func TestSignals(t *testing.T) {
	for s, want := range map[string]bool{"TERM": true, "sigint": true, "9": true, "SIGRTMAX-1": true, "RTMIN": true, "0": false, "": false, "x": false, "SIGRTMIN+x": false} {
		equal(t, s, validSignal(s), want)
	}
}
