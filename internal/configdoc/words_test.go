package configdoc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// file returns a configuration file that has only one key.
func file(k Key, value string) string {
	text := "{" + k.Name + ": " + value + "}"
	above, _ := strings.CutSuffix(k.Place, k.Name)
	for part := range strings.SplitSeq(reversed(strings.TrimSuffix(above, ".")), ".") {
		if name, isList := strings.CutSuffix(part, "[]"); isList {
			text = "{" + name + ": [" + text + "]}"
		} else if part != "" {
			text = "{" + part + ": " + text + "}"
		}
	}
	return text
}

func reversed(place string) string {
	parts := strings.Split(place, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".")
}

// field is the key's name in messages, in the first item of each list.
func field(k Key) string { return strings.ReplaceAll(k.Place, "[]", "[0]") }

// TestWords: what a comment lists as the only words is what Validate takes, and no other.
func TestWords(t *testing.T) {
	sections, err := Read(root)
	require.NoError(t, err)
	known := 0
	for _, s := range sections {
		for _, k := range s.Keys {
			if k.Words == nil {
				continue
			}
			known++
			problem := func(value string) *errors.Problem {
				_, err := vm.ParseConfig("words.yaml", []byte(file(k, value)))
				var bad *errors.ConfigError
				if errors.As(err, &bad) {
					for _, p := range bad.Problems {
						if p.Field == field(k) && p.Value == strings.Trim(value, `"`) {
							return &p
						}
					}
				}
				return nil
			}
			wrong := problem("nonsense")
			require.NotNil(t, wrong, "%s takes nonsense: %s", k.Place, file(k, "nonsense"))
			for _, word := range k.Words {
				if p := problem(`"` + word + `"`); p != nil {
					require.NotEqual(t, wrong.Message, p.Message, "%s is listed: %v", word, p)
				}
				require.Contains(t, wrong.Fix, word, "%s", k.Place)
			}
		}
	}
	require.Greater(t, known, 10)
}

// TestDefaults: what a comment calls the default word is one of the words.
func TestDefaults(t *testing.T) {
	sections, err := Read(root)
	require.NoError(t, err)
	for _, s := range sections {
		for _, k := range s.Keys {
			word := strings.Trim(k.Default, `"`)
			if k.Words != nil && `"`+word+`"` == k.Default && !strings.Contains(word, `"`) {
				require.Contains(t, k.Words, word, k.Place)
			}
		}
	}
}
