"""Reserved words of the SQL dialects, each with the kind of token it makes.

A kind is one letter. Those of a fingerprint are
`E` statement, `U` set operation, `B` clause, `T` batch statement, `k` keyword, `o` operator, `&` logic,
`1` number, `v` variable, `t` type, `A` COLLATE, `f` function, `n` name, `s` string, `c` comment,
`X` what only an attacker writes, and punctuation for itself. The folding needs to know some more about a token;
`SHOWN` says as what such a kind appears in the fingerprint.

Compiled from the reserved words and built-in functions in the manuals of MySQL, PostgreSQL, SQL Server, Oracle,
SQLite and Access; the kind of each was checked against what libmodsecurity's @detectSQLi makes of the word.
"""

from __future__ import annotations

SHOWN: dict[str, str] = {
    "u": "o",  # operator that may stand before an operand: ! ~ NOT
    "p": "o",  # the same, and arithmetic: + -
    "m": "o",  # arithmetic: * / %
    "j": "o",  # a cast: ::
    "l": "o",  # LIKE
    "i": "k",  # IN
    "x": "v",  # a value that may be called: CURRENT_DATE()
    "w": "n",  # a name that may be called: DATABASE()
    "y": "n",  # USER
    "z": "f",  # USER before a parenthesis
    "q": "f",  # IF
    "d": "n",  # a name in back quotes that is empty
    "e": "n",  # a name in back quotes that is empty and never closed
}

WORDS_OF_KIND: dict[str, str] = {
    # begin a query, or a statement over an expression
    "E": "case create insert select set update",
    # join two queries
    "U": "except intersect union",
    # clauses after the query
    "B": "having limit",
    # statements of a batch (T-SQL, PL/SQL, MySQL handlers)
    "T": "begin call declare delete drop exec execute go goto handler print shutdown try use while",
    # other reserved words
    "k": """
        abort accessible against all_users alter analyze as asc asensitive autoincrement before blob both cascade
        change column condition constraint continue count_big cursor databases day_hour day_microsecond day_minute
        day_second dec default delay delayed desc describe deterministic distinct distinctrow each else elseif
        enclosed escaped exit explain fetch force foreign from fulltext function grant high_priority
        hour_microsecond hour_minute hour_second ignore index infile inner inout insensitive interval into iterate
        join keys kill leading leave linear lines load longblob longtext loop low_priority master_bind
        master_ssl_verify_server_cert match maxvalue mediumblob mediumint mediumtext merge middleint
        minute_microsecond minute_second modifies no_write_to_binlog notnull nowait offset open optimize option
        optionally outfile partition precision primary procedure purge range read read_write reads references
        release rename repeat replace require resignal restrict return revoke schema schemas second_microsecond
        sensitive separator signal similar spatial specific sql sql_big_result sql_buffer_result sql_calc_found_rows
        sql_no_cache sql_small_result sqlexception sqlstate sqlwarning ssl starting straight_join syscolumns
        sysobjects sysusers terminated then time tinyblob tinyint tinytext top trigger undo unlock unsigned usage
        utc_date utc_time utc_timestamp values varbinary varcharacter varying wait when where xp_execresultset
        year_month zerofill
    """,
    # IN: an operator before a parenthesis
    "i": "in",
    # operators
    "o": "between div eqv is mod regexp rlike sounds uescape",
    # may stand before an operand
    "u": "not",
    # LIKE: a function before a parenthesis
    "l": "like",
    # logic
    "&": "and or xor",
    # as good as a number
    "1": "binary_double_infinity binary_double_nan binary_float_infinity binary_float_nan false true",
    # values without parentheses
    "v": "current_path null unknown",
    # values that may also be called
    "x": "current_date current_time current_timestamp current_user localtime localtimestamp",
    # names that may also be called
    "w": "database password user_id user_name",
    # USER
    "y": "user",
    # types
    "t": """
        anyarray anyelement bigint bigserial binary boolean bytea character cstring decimal double float float4
        float8 int int1 int2 int3 int4 int8 integer money numeric oid real regclass regproc regtype serial serial2
        serial4 serial8 smallint smallserial text timestamp varchar void
    """,
    # takes a collation
    "A": "collate",
    # IF: a statement after a semicolon
    "q": "if iff ifnull",
    # functions: MySQL, PostgreSQL, SQL Server, Oracle, SQLite, Access
    "f": """
        abs acos adddate addtime aes_decrypt aes_encrypt age any app_name applock_mode applock_test array_agg
        array_cat array_fill array_length array_lower array_ndims array_prepend array_to_json array_to_string
        array_upper ascii asin assemblyproperty atan atan2 avg benchmark bin bit_and bit_count bit_length bit_or
        bit_xor bool_and bool_or btrim cast cbool cbrt cbyte ccur cdate cdbl ceil ceiling certencoded certprivatekey
        changes char char_length character_length charindex charset chdir checksum_agg choose chr cint clng
        clock_timestamp coalesce coercibility col_length col_name collation columnproperty compress concat concat_ws
        connection_id conv convert convert_from convert_to convert_tz cos cot count crc32 csng ctxsys.drithsx.sn
        cume_dist curdate curdir current_database current_query current_schema current_schemas current_setting
        currentuser currval cursor_status curtime cvar database_principal_id databasepropertyex datalength date
        date_add date_format date_part date_sub date_trunc dateadd datediff datefromparts datename datepart
        dateserial datetime2fromparts datetimefromparts datetimeoffsetfromparts datevalue davg day dayname
        dayofmonth dayofweek dayofyear db_id db_name dbms_lock.sleep dbms_pipe.receive_message
        dbms_utility.sqlid_to_sqlhash dcount decode decryptbykey decryptbypassphrase degrees dense_rank des_decrypt
        des_encrypt dfirst difference dlast dlookup dmax dmin dsum elt encode encrypt encryptbycert encryptbykey
        encryptbypassphrase enum_first enum_last enum_range eomonth exists exp export_set extract extractvalue field
        file_id file_idex file_name filegroup_id filegroup_name filegroupproperty fileproperty filetoblob filetoclob
        find_in_set first_value floor fn_virtualfilestats format found_rows from_base64 from_days from_unixtime
        fulltextcatalogproperty fulltextserviceproperty generate_series generate_subscripts get_bit get_byte
        get_format get_lock getdate getutcdate greatest group_concat grouping grouping_id has_perms_by_name
        hashbytes hex host_name hour ident_current ident_incr ident_seed identify iif index_col indexkey_property
        indexproperty inet_aton inet_ntoa initcap instr instrrev is_free_lock is_member is_rolemember
        is_srvrolemember is_used_lock isdate isempty isfinite isnull isnumeric json_keys julianday justify_days
        justify_hours justify_interval key_guid key_id lag last_insert_id last_insert_rowid last_value lastval lcase
        lead least left length ln load_extension load_file locate log log10 log2 lower lpad ltrim make_set makedate
        masklen master_pos_wait max md5 microsecond mid min minute mkdir month monthname name_const netmask nextval
        now nth_value ntile nullif nz object_definition object_id object_name object_schema_name objectproperty
        objectpropertyex oct octet_length old_password opendatasource openquery openrowset openxml ord
        original_db_name original_login overlaps overlay parsename patindex percent_rank percentile_disc period_add
        period_diff permissions pg_advisory_lock pg_backend_pid pg_cancel_backend pg_client_encoding
        pg_conf_load_time pg_create_restore_point pg_has_role pg_is_in_recovery pg_is_other_temp_schema
        pg_listening_channels pg_ls_dir pg_my_temp_schema pg_postmaster_start_time pg_read_binary_file pg_read_file
        pg_reload_conf pg_rotate_logfile pg_sleep pg_start_backup pg_stat_file pg_stop_backup pg_switch_xlog
        pg_terminate_backend pg_trigger_depth pi position pow power pwdcompare pwdencrypt quarter quote quote_ident
        quote_literal quote_nullable quotename radians rand random randomblob rank regexp_instr regexp_matches
        regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr release_lock replicate reverse
        round row row_count row_number row_to_json rpad rtrim schema_id scope_identity sec_to_time serverproperty
        session_user set_bit set_byte set_config set_masklen setseed setval sha sha1 sha2 sign signbycert sin sleep
        smalldatetimefromparts some soundex space split_part sqlite_version sqrt statement_timestamp stats_date
        stddev stddev_pop stddev_samp str_to_date strcmp strcomp strconv string_agg string_to_array strpos stuff
        subdate substr substring substring_index subtime sum suser_id suser_name suser_sid suser_sname sysdate
        sysdatetime sysdatetimeoffset system_user tan textptr textvalid time_format time_to_sec timediff
        timefromparts timeofday timeserial timestampadd timevalue to_ascii to_base64 to_char to_date to_days to_hex
        to_number to_seconds to_timestamp todatetimeoffset total total_changes transaction_timestamp translate
        trigger_nestlevel trim trunc truncate try_cast try_convert try_parse type_id type_name typeof typeproperty
        ucase uncompress unhex unicode unix_timestamp unnest updatexml upper user_lock.sleep using utl_http.request
        utl_inaddr.get_host_address utl_inaddr.get_host_name uuid uuid_short var var_pop var_samp variance varp
        verifysignedbycert version week weekday weekdayname weekofyear width_bucket xmlagg xmlcomment xmlconcat
        xmlelement xmlexists xmlforest xmlpi xmlroot xmltype xpath xpath_exists year yearweek zeroblob
    """,
}

PHRASES_OF_KIND: dict[str, tuple[str, ...]] = {
    "B": (
        "group by",
        "order by",
        "partition by",
    ),
    "E": (
        "execute as",
        "execute as login",
        "insert delayed",
        "insert high_priority",
        "insert ignore",
        "insert low_priority",
        "select all",
        "select distinct",
        "waitfor delay",
        "waitfor receive",
        "waitfor time",
    ),
    "T": (
        "begin declare",
        "begin goto",
        "begin try",
        "begin try declare",
        "create or replace",
        "insert delayed into",
        "insert high_priority into",
        "insert ignore into",
        "insert into",
        "insert low_priority into",
        "load data",
        "load xml",
    ),
    "U": (
        "intersect all",
        "union all",
        "union all distinct",
        "union distinct",
        "union distinct all",
    ),
    "f": ("procedure analyse",),
    "i": ("not in",),
    "k": (
        "alter domain",
        "alter table",
        "at time zone",
        "cross join",
        "for update",
        "for update nowait",
        "for update of",
        "for update skip",
        "for update skip locked",
        "for update wait",
        "full join",
        "full outer",
        "full outer join",
        "in boolean mode",
        "inner join",
        "into dumpfile",
        "into outfile",
        "left join",
        "left outer",
        "left outer join",
        "lock in share mode",
        "lock table",
        "lock tables",
        "natural full",
        "natural inner",
        "natural join",
        "natural left",
        "natural left outer",
        "natural left outer join",
        "natural outer",
        "natural right",
        "next value for",
        "read write",
        "right join",
        "right outer",
        "right outer join",
        "with rollup",
    ),
    "l": ("not like",),
    "n": (
        "at time",
        "create or",
        "in boolean",
        "is distinct",
        "lock in",
        "lock in share",
        "next value",
    ),
    "o": (
        "is distinct from",
        "not between",
        "not regexp",
        "not rlike",
        "not similar",
        "similar to",
        "sounds like",
    ),
    "q": (
        "if exists",
        "if not",
        "if not exists",
    ),
    "t": (
        "character varying",
        "double precision",
    ),
    "v": (
        "current date",
        "current function",
        "current path",
        "current schema",
        "current server",
        "current time",
        "current timezone",
    ),
}

WORDS: dict[bytes, str] = {
    word.encode().upper(): kind for kind, words in WORDS_OF_KIND.items() for word in words.split()
}
"""Word in upper case → kind. A word that is not here is a name."""

PHRASES: dict[bytes, str] = {
    phrase.encode().upper(): kind for kind, phrases in PHRASES_OF_KIND.items() for phrase in phrases
}
"""Words joined by one space → kind. `n`: the phrase is not complete yet."""

PHRASE_STARTS = frozenset(phrase.rsplit(b" ", 1)[0] for phrase in PHRASES) | {b"COLLATE"}
"""What the next word may complete to a phrase; COLLATE makes a name with an underscore a type."""
