//go:build linux

package runtime

import (
	"strconv"

	"github.com/docker/go-units"

	"github.com/jackstay/jackstay/internal/errs"
)

// logNone keeps no log.
const logNone = "none"

// logSettings reads --log-driver and --log-opt. json-file, local and k8s-file
// all mean conmon's k8s-file; their options are max-size and max-file. maxSize is in bytes, 0: no limit.
func logSettings(driver string, options map[string]string) (name string, maxSize int64, maxFile int, err error) {
	maxFile = 1
	switch driver {
	case "", "json-file", "k8s-file":
		name = "k8s-file"
	case "local":
		// Docker's defaults of this driver.
		name, maxSize, maxFile = "k8s-file", 20<<20, 5
	case logNone:
		name = logNone
	default:
		return "", 0, 0, errs.New(errs.Invalid, "logger: no log driver named '%s' is registered (there are json-file, local and none)", driver)
	}
	for key, value := range options {
		switch {
		case name == logNone:
			return "", 0, 0, errs.New(errs.Invalid, "log driver none takes no option, but has %s", key)
		case key == "max-size":
			if value == "-1" {
				maxSize = 0
				continue
			}
			if maxSize, err = units.FromHumanSize(value); err != nil || maxSize <= 0 {
				return "", 0, 0, errs.New(errs.Invalid, "max-size must be a positive number, but is %q", value)
			}
		case key == "max-file":
			if maxFile, err = strconv.Atoi(value); err != nil || maxFile < 1 {
				return "", 0, 0, errs.New(errs.Invalid, "max-file cannot be less than 1, but is %q", value)
			}
		case key == "compress" && value == "false":
		default:
			return "", 0, 0, errs.New(errs.Invalid, "unknown or unsupported log opt '%s' for log driver %s (there are max-size and max-file)", key, driver)
		}
	}
	if maxFile > 1 && maxSize == 0 && options["max-file"] != "" {
		return "", 0, 0, errs.New(errs.Invalid, "max-file needs max-size")
	}
	return name, maxSize, maxFile, nil
}
