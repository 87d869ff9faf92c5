// The service `{{name}}`: returns the request's body in capitals. The body is the standard input, and what is printed
// is the reply; an exit code other than 0 makes it a failure, with the standard error as the reason.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil || len(text) == 0 {
		fmt.Fprintln(os.Stderr, "send some text")
		os.Exit(1)
	}
	os.Stdout.Write(bytes.ToUpper(text))
}
