/* The service `compter` (French: to count) in C: counts the lines, words and bytes of its standard input.
 *
 *     python3 -m ziglang cc --target=wasm32-wasi -Os examples/compter/compter.c -o compter.wasm    # pip install ziglang
 *     clang --target=wasm32-wasi -Os examples/compter/compter.c -o compter.wasm                    # or with a WASI SDK
 *     wasmnode deploy compter.wasm
 */
#include <stdio.h>

static int is_space(int c) {
    return c == ' ' || (c >= '\t' && c <= '\r' && c != '\v');
}

int main(void) {
    long lines = 0, words = 0, bytes = 0;
    int c, in_word = 0;
    while ((c = getchar()) != EOF) {
        bytes++;
        lines += c == '\n';
        words += !is_space(c) && !in_word;
        in_word = !is_space(c);
    }
    printf("%ld %ld %ld\n", lines, words, bytes);
    return 0;
}
