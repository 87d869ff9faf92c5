/* The service `{{name}}`: returns the request's body in capitals. The body is the standard input, and what is printed is
 * the reply; an exit code other than 0 makes it a failure, with the standard error as the reason. */
#include <ctype.h>
#include <stdio.h>

int main(void) {
    int c, empty = 1;
    while ((c = getchar()) != EOF) {
        empty = 0;
        putchar(toupper(c));
    }
    if (empty) {
        fputs("send some text\n", stderr);
    }
    return empty;
}
