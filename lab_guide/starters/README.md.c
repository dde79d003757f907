# Lab ${lab}: ${title}

The page of this lab is `lab_guide/lab${lab}.md` in Grupo's folder (`${grupo}`). Read it first.

This folder contains a server in C. It runs, but some of its functions are not finished. The parts that this lab is not about are done: the command line, the files, the owner's console. You write:

${functions}

```sh
make predict    # answer questions first: the write-up begins with your answers
make run        # compile and start the server; then try it by hand: nc 127.0.0.1 7000
make check      # run the checks that grade the lab, and explain each failure
make check ONLY=a-line-in-pieces        # run one check alone
make check SANITIZE=address     # compile with the address sanitizer, which names lines; or thread, for races
make watch      # run the checks again at each save of a file; Ctrl-C ends it
make report     # the same as make check, and report.html with pictures
```

You need a C compiler, make and libcrypt (Debian, Ubuntu: `apt install gcc make libcrypt-dev`). If Grupo's folder has moved, say where it is now: `make check GRUPO=/where/it/is`.
