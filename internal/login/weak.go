package login

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shortest is the length below which a password can be guessed, in characters.
const shortest = 12

//go:embed common.txt
var commonText string

// Weak says why a password is too easy to guess, or "": it has fewer than 12
// characters, or is one of the most common ones, also with digits and signs
// around it, or one character or a run of neighbours over and over.
func Weak(password string) string {
	if utf8.RuneCountInString(password) < shortest {
		return "it has fewer than 12 characters"
	}
	typed := strings.ToLower(password)
	word := strings.TrimFunc(typed, func(r rune) bool { return !unicode.IsLetter(r) })
	for line := range strings.Lines(commonText) {
		if c := strings.TrimSpace(line); c != "" && (c == typed || c == word) {
			return "it is one of the most common passwords"
		}
	}
	if distinct(typed) < 5 || neighbours(typed) {
		return "it is a simple pattern"
	}
	return ""
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// neighbours reports whether nearly every character follows the one before in
// the alphabet, among the digits or on a keyboard.
func neighbours(s string) bool {
	const rows = "abcdefghijklmnopqrstuvwxyz 01234567890 qwertyuiop asdfghjkl zxcvbnm qwertzuiop azerty"
	runes := []rune(s)
	steps := 0
	for i := 1; i < len(runes); i++ {
		pair, back := string(runes[i-1:i+1]), string([]rune{runes[i], runes[i-1]})
		if strings.Contains(rows, pair) || strings.Contains(rows, back) {
			steps++
		}
	}
	return steps >= len(runes)-3
}
