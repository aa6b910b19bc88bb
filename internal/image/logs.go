package image

import (
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// routeLogs sends the libraries' warnings and errors to log. They write to
// logrus's one standard logger, so the last store opened gets them.
func routeLogs(log *slog.Logger) {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.WarnLevel)
	hooks := logrus.LevelHooks{}
	hooks.Add(slogHook{log})
	logrus.StandardLogger().ReplaceHooks(hooks)
}

type slogHook struct{ log *slog.Logger }

func (slogHook) Levels() []logrus.Level {
	return []logrus.Level{logrus.WarnLevel, logrus.ErrorLevel, logrus.FatalLevel, logrus.PanicLevel}
}

func (h slogHook) Fire(e *logrus.Entry) error {
	if e.Level == logrus.WarnLevel {
		h.log.Warn(e.Message, "from", "image library")
	} else {
		h.log.Error(e.Message, "from", "image library")
	}
	return nil
}
