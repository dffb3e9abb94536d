/*
 * noop: the smallest program that a container can run, so that what is measured is the runtime.
 * It has no C library, whose start alone takes as long as a third of a container.
 *
 *   noop          ends at once
 *   noop pause    sleeps until it is killed
 *   noop loop 100M (or any two words) executes 100,000,000 instructions and ends
 *
 *   cc -O2 -static -nostdlib -fno-stack-protector -o noop noop.c
 */

__asm__(".globl _start\n"
        "_start:\n"
        "mov (%rsp), %rdi\n" /* argc */
        "jmp begin\n");

static long call(long number, long argument) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(argument)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((noreturn, used)) void begin(long argc) {
    enum { PAUSE = 34, EXIT_GROUP = 231 }; /* arch/x86/entry/syscalls/syscall_64.tbl */
    while (argc == 2)
        call(PAUSE, 0);
    if (argc > 2) {
        long left = 50000000;
        __asm__ volatile("1: dec %0\n"
                         "jnz 1b\n"
                         : "+r"(left)
                         :
                         : "cc");
    }
    for (;;)
        call(EXIT_GROUP, 0);
}
