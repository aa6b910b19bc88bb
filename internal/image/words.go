package image

import (
	"strings"
	"unicode"

	"github.com/jackstay/jackstay/internal/errs"
)

// The words of a Dockerfile line: they end at white space outside quotes;
// double quotes keep white space, single quotes keep everything, a backslash
// keeps the next character; $NAME and ${NAME}, ${NAME:-word}, ${NAME:+word}
// are replaced from earlier ENV lines.

type keyValue struct{ key, value string }

// keyValues reads KEY=VALUE..., or the old form KEY VALUE, whose value is the
// whole rest of the line.
func keyValues(args string, env []string) ([]keyValue, error) {
	raw, err := splitWords(args)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(raw[0], "=") {
		key, value, ok := strings.Cut(args, " ")
		if !ok {
			return nil, errs.New(errs.Invalid, "%s must have two arguments", key)
		}
		if key, err = expandOne(key, env); err != nil {
			return nil, err
		}
		value, err = expandOne(strings.TrimSpace(value), env)
		return []keyValue{{key, value}}, err
	}
	var out []keyValue
	for _, word := range raw {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, errs.New(errs.Invalid, "syntax error - can't find = in %q. Must be of the form: name=value", word)
		}
		if key, err = expandOne(key, env); err != nil {
			return nil, err
		}
		if value, err = expandOne(value, env); err != nil {
			return nil, err
		}
		if key == "" {
			return nil, errs.New(errs.Invalid, "names can not be blank")
		}
		out = append(out, keyValue{key, value})
	}
	return out, nil
}

// expandWords gives the words of args, quotes and variables resolved.
func expandWords(args string, env []string) ([]string, error) {
	raw, err := splitWords(args)
	if err != nil {
		return nil, err
	}
	for i, word := range raw {
		if raw[i], err = expandOne(word, env); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// splitWords splits at white space outside quotes and keeps the quotes.
func splitWords(args string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	escaped := false
	for _, r := range args {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case unicode.IsSpace(r):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteRune(r)
	}
	if quote != 0 {
		return nil, errs.New(errs.Invalid, "unexpected end of statement while looking for matching %s-quote", map[rune]string{'"': "double", '\'': "single"}[quote])
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words, nil
}

// expandOne resolves quotes, escapes and variables of one word.
func expandOne(word string, env []string) (string, error) {
	var out strings.Builder
	var quote byte
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case quote == '\'':
			if c == '\'' {
				quote = 0
			} else {
				out.WriteByte(c)
			}
		case c == '\\' && i+1 < len(word):
			i++
			// Within double quotes a backslash escapes only these.
			if quote == '"' && !strings.ContainsRune(`"$\`, rune(word[i])) {
				out.WriteByte('\\')
			}
			out.WriteByte(word[i])
		case c == '"':
			quote ^= '"'
		case c == '\'' && quote == 0:
			quote = '\''
		case c == '$':
			value, n, err := variable(word[i+1:], env)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			i += n
		default:
			out.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", errs.New(errs.Invalid, "unexpected end of statement in %q: a quote is not closed", word)
	}
	return out.String(), nil
}

// variable resolves what follows a $, n bytes of it.
func variable(s string, env []string) (value string, n int, err error) {
	if !strings.HasPrefix(s, "{") {
		for n < len(s) && (s[n] == '_' || isAlnum(s[n])) {
			n++
		}
		if n == 0 {
			return "$", 0, nil
		}
		value, _ = lookupEnv(env, s[:n])
		return value, n, nil
	}
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return "", 0, errs.New(errs.Invalid, "syntax error: missing } in $%s", s)
	}
	name, modifier, has := strings.Cut(s[1:end], ":")
	value, set := lookupEnv(env, name)
	set = set && value != ""
	switch {
	case name == "":
		return "", 0, errs.New(errs.Invalid, "syntax error: no name in $%s", s[:end+1])
	case !has:
	case strings.HasPrefix(modifier, "-"):
		if !set {
			value = modifier[1:]
		}
	case strings.HasPrefix(modifier, "+"):
		if set {
			value = modifier[1:]
		}
	default:
		return "", 0, errs.New(errs.Invalid, "unsupported modifier (%s) in substitution", modifier)
	}
	return value, end + 1, nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func lookupEnv(env []string, name string) (string, bool) {
	for _, e := range env {
		if key, value, _ := strings.Cut(e, "="); key == name {
			return value, true
		}
	}
	return "", false
}
