"""Names of HTML and SVG that run code, or name what does: tags, attributes, events, URL schemes. All lower case.

Compiled from the HTML standard, SVG 1.1 and 2, UI Events, and the extensions of WebKit, Gecko and Internet Explorer;
each was checked against what libmodsecurity's @detectXSS makes of it.
"""

from __future__ import annotations

TAGS = frozenset(
    b"applet base comment embed frame frameset handler iframe import isindex link listener meta noscript object "
    b"script style vmlframe xml xss".split()
)
"""Elements that run code or load it."""

TAG_BEGINNINGS = frozenset((b"svg", b"xsl"))
"""Elements of SVG and XSL run code, whatever follows in the name."""

CODE_ATTRIBUTES = frozenset(b"dataformatas datasrc filter style".split())
"""Attributes whose value is code, or fetches it."""

CODE_ATTRIBUTE_BEGINNINGS = frozenset((b"xmlns", b"xlink"))

URL_ATTRIBUTES = frozenset(
    b"action background by dynsrc folder formaction from handler href lowsrc poster src to values".split()
)
"""Attributes whose value is a URL."""

NAME_ATTRIBUTES = frozenset((b"attributename",))
"""Attributes whose value is the name of an attribute that the element sets (SVG's `set` and `animate`)."""

SCHEMES = frozenset((b"data", b"java", b"vbscript", b"view-source"))
"""URL schemes that run code or hide it; the beginning suffices."""

_EVENT_BEGINNINGS = b"""
    abort activate active addsourcebuffer addstream addtrack afterprint afterscriptexecute animationcancel
    animationend animationiteration animationstart audioend audioprocess audiostart autocomplete auxclick
    backgroundfetchabort backgroundfetchclick backgroundfetchfail backgroundfetchsuccess beforeactivate
    beforecopy beforecut beforeinput beforeload beforematch beforepaste beforeprint beforescriptexecute
    beforetoggle beforeunload beginevent blocked blur boundary bufferedamountlow cached cancel canplay change
    chargingchange chargingtimechange checking click close closing command complete compositionend
    compositionstart compositionupdate connect contentvisibilityautostatechange contextlost contextmenu
    contextrestored controllerchange cookiechange copy cuechange currententrychange cut dataavailable
    datachannel dblclick devicechange devicelight devicemotion deviceorientation dischargingtimechange
    disconnect dispose domactivate domcharacterdatamodified domcontentloaded domnodeinserted domnoderemoved
    domsubtreemodified downloading drag drop durationchange emptied encrypted end enter error exit
    fencedtreeclick fetch finish focus formchange formdata fullscreenchange fullscreenerror gamepadconnected
    gamepaddisconnected gatheringstatechange gesturechange gestureend gesturescrollend gesturescrollstart
    gesturescrollupdate gesturestart gesturetap gotpointercapture hashchange icecandidate
    iceconnectionstatechange icegatheringstatechange input install invalid keydown keypress keystatuseschange
    keyup languagechange leavepictureinpicture levelchange load lostpointercapture mark merchantvalidation
    message mousedown mouseenter mouseleave mousemove mouseout mouseover mouseup mousewheel mozfullscreenchange
    mozfullscreenerror mozpointerlockchange mozpointerlockerror mute navigate negotiationneeded nomatch
    notificationclick notificationclose noupdate obsolete offline online open orientationchange overflowchanged
    pagehide pagereveal pageshow pageswap paste pause payerdetailchange paymentmethodchange play pointercancel
    pointerdown pointerenter pointerleave pointerlockchange pointerlockerror pointermove pointerout pointerover
    pointerrawupdate pointerup popstate processorerror progress propertychange push qualitychange ratechange
    readystatechange redraw rejectionhandled release remove repeat reset resize resourcetimingbufferfull result
    resume rtctransform scroll search securitypolicyviolation seeked seeking select shippingaddresschange
    shippingoptionchange show signalingstatechange slotchange sort soundend soundstart sourceclose sourceended
    sourceopen speechend speechstart squeeze stalled start statechange stop storage submit success suspend
    svgload svgscroll textinput timeout timeupdate toggle tonechange touchcancel touchend touchforcechange
    touchmove touchstart track transitioncancel transitionend transitionrun transitionstart uncapturederror
    unhandledrejection unload unmute update upgradeneeded userproximity versionchange visibilitychange
    voiceschanged volumechange vrdisplayactivate vrdisplayconnect vrdisplaydeactivate vrdisplaydisconnect
    vrdisplaypresentchange waiting webglcontextcreationerror webglcontextlost webglcontextrestored
    webkitanimationend webkitanimationiteration webkitanimationstart webkitassociateformcontrols
    webkitautofillrequest webkitbeforetextinserted webkitbeginfullscreen
    webkitcurrentplaybacktargetiswirelesschanged webkitendfullscreen webkitfullscreenchange
    webkitfullscreenerror webkitkeyadded webkitkeyerror webkitkeymessage webkitmouseforcechanged
    webkitmouseforcedown webkitmouseforceup webkitmouseforcewillbegin webkitneedkey webkitnetworkinfochange
    webkitplaybacktargetavailabilitychanged webkitpresentationmodechanged webkitremovesourcebuffer
    webkitshadowrootattached webkitsourceclose webkitsourceended webkitsourceopen webkittransitionend wheel
    write zoom
"""

EVENT_BEGINNINGS = frozenset(b"on" + event for event in _EVENT_BEGINNINGS.split())
"""Event handlers; longer names that begin so are meant, too (`onanimationstart`, `onloadend`)."""

_EVENTS_OF_OURS = b"""
    afterupdate appinstalled beforedeactivate beforeeditfocus beforeinstallprompt beforeupdate begin bounce
    candidatewindowhide candidatewindowshow candidatewindowupdate cellchange controlselect datasetchanged
    datasetcomplete deactivate filterchange freeze help layoutcomplete losecapture mediacomplete mediaerror move
    moveend movestart mscontentzoom msgesturechange msgesturedoubletap msgestureend msgesturehold msgesturestart
    msgesturetap msgotpointercapture msinertiastart mslostpointercapture msmanipulationstatechanged
    mspointercancel mspointerdown mspointerenter mspointerhover mspointerleave mspointermove mspointerout
    mspointerover mspointerup outofsync popuphidden popuphiding popupshowing popupshown prerenderingchange redo
    reverse rowdelete rowenter rowexit rowinserted rowsdelete rowsinserted seek svgabort svgerror svgresize
    svgunload svgzoom syncrestored timeerror undo urlflip webkitwillrevealbottom webkitwillrevealleft
    webkitwillrevealright webkitwillrevealtop
"""

EVENTS_OF_OURS = frozenset(b"on" + event for event in _EVENTS_OF_OURS.split())
"""Event handlers of browsers that libmodsecurity lets pass, such as SVG's `onbegin`; only the whole name counts."""
