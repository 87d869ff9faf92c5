// The service `compter` (French: to count) in Go: counts the lines, words and bytes of its standard input.
//
//	GOOS=wasip1 GOARCH=wasm go build -ldflags "-s -w" -o compter.wasm examples/compter/compter.go
//	wasmnode deploy compter.wasm
package main

import (
	"fmt"
	"io"
	"os"
)

func isSpace(b byte) bool {
	return b == ' ' || b >= '\t' && b <= '\r' && b != '\v'
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines, words, inWord := 0, 0, false
	for _, b := range text {
		if b == '\n' {
			lines++
		}
		if !isSpace(b) && !inWord {
			words++
		}
		inWord = !isSpace(b)
	}
	fmt.Println(lines, words, len(text))
}
