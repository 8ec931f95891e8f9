package main

// matchAlias reports whether a modalias matches a pattern as fnmatch(3) has it
// without flags, which is how modprobe does it: "*" any text, "?" one byte, and
// "[0-9a-f]" one of a set. A hand-written one, since path.Match stops "*" at slashes.
func matchAlias(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for pattern != "" && pattern[0] == '*' {
				pattern = pattern[1:]
			}
			if pattern == "" {
				return true
			}
			for i := range len(s) + 1 {
				if matchAlias(pattern, s[i:]) {
					return true
				}
			}
			return false
		case '[':
			set, rest, ok := cutSet(pattern)
			if !ok || s == "" || !inSet(set, s[0]) {
				return false
			}
			pattern, s = rest, s[1:]
		default:
			if s == "" || pattern[0] != '?' && pattern[0] != s[0] {
				return false
			}
			pattern, s = pattern[1:], s[1:]
		}
	}
	return s == ""
}

// cutSet splits "[set]rest".
func cutSet(pattern string) (set, rest string, ok bool) {
	for i := 2; i < len(pattern); i++ {
		if pattern[i] == ']' {
			return pattern[1:i], pattern[i+1:], true
		}
	}
	return "", "", false
}

func inSet(set string, c byte) bool {
	negate := set[0] == '!' || set[0] == '^'
	if negate {
		set = set[1:]
	}
	found := false
	for len(set) > 0 {
		if len(set) >= 3 && set[1] == '-' {
			found = found || set[0] <= c && c <= set[2]
			set = set[3:]
			continue
		}
		found = found || set[0] == c
		set = set[1:]
	}
	return found != negate
}
