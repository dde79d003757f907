# Lab ${lab}: ${title}

The page of this lab is `lab_guide/lab${lab}.md` in Grupo's folder (`${grupo}`). Read it first.

Here is a server in C that runs, and does not do all that it should; what the lab is not about (the command line, the files, the owner's console) is done. Yours to write:

${functions}

```sh
make run        # compile it, and try it by hand: nc 127.0.0.1 7000
make check      # what it does right, and what it does not, with reasons: the same checks that grade it
make check ONLY=a-line-in-pieces        # one check alone
make report     # the same, and report.html with pictures
```

It needs a C compiler, make and libcrypt (Debian, Ubuntu: `apt install gcc make libcrypt-dev`). If Grupo's folder has moved: `make check GRUPO=/where/it/is`.
